// The functions that a page calls. galileo.d.ts describes them.

/**
 * Start an upload of one file on a connection of its own; `on` are the handlers of Transfer, and
 * optionally `close`. Throws TypeError for invalid options; other failures go to handlers.
 */
function transfer(options, on) {
  const settings = readOptions(options);
  const one = new Transfer(settings, on);
  const queue = [one];
  if (settings.signal?.aborted) {
    queueMicrotask(() => {
      one.abortBySignal();
      on.close?.();
    });
  } else {
    new Connection(settings, {
      peek: () => queue[0]?.size ?? null,
      take: () => queue.shift(),
      ended() {},
      closed: on.close,
    }).start();
  }
  return { abort: one.abort, done: one.done };
}

/**
 * Upload one file. The result is a promise of the receipt, and an async iterator of the progress.
 * The iterator yields the latest event only: a slow reader skips events.
 */
function upload(options) {
  let latest = null;
  let over = false;
  let wake;
  let changed; // a promise that resolves with the next event
  const notify = () => {
    wake?.();
    changed = new Promise((resolve) => {
      wake = resolve;
    });
  };
  notify();
  const end = () => {
    over = true;
    notify();
  };
  const { abort, done } = transfer(options, {
    progress(event) {
      latest = event;
      notify();
      callHandler(options.onprogress, event);
    },
    error: (signal) => callHandler(options.onerror, signal),
    success: end,
    failure: end,
  });
  return {
    abort,
    done,
    then: (...handlers) => done.then(...handlers),
    catch: (handler) => done.catch(handler),
    finally: (handler) => done.finally(handler),
    async *[Symbol.asyncIterator]() {
      let seen = null;
      while (!over || latest !== seen) {
        if (latest === seen) await changed;
        else yield (seen = latest);
      }
      await done;
    },
  };
}

/** The interface of the original client: handlers. Its further options are those of `upload`. */
function GalileoSend(options) {
  return transfer(options, {
    chunk: (ratio) => callHandler(options.onchunk, ratio),
    error: (signal) => callHandler(options.onerror, signal),
    success: () => callHandler(options.onsuccess),
    failure: (error) => callHandler(options.onfailure, error.signals),
    close: () => callHandler(options.onclose),
  });
}

/** Upload many files, on a few connections. */
function uploadAll(options) {
  return new Uploads(options);
}
