// The functions that a page calls. galileo.d.ts describes them.

/**
 * Start an upload of one file on connections of its own; `on` are the handlers of Transfer, and
 * optionally `close` and `retry`. Throws TypeError for invalid options; other failures go to
 * handlers.
 */
function transfer(options, on) {
  const settings = readOptions(options);
  let waiting = true; // for a connection
  let connection = null;
  let last = null; // the newest connection
  let isPaused = false;
  let isClosed = false;
  const close = () => {
    if (!isClosed) on.close?.();
    isClosed = true;
  };
  const ended = (handler) => (value) => {
    handler(value);
    if (connection !== null) return;
    queueMicrotask(close); // it is closed, or there was none
    pool.fill(); // nothing is left to wait for
  };
  const one = new Transfer(settings, {
    ...on,
    success: ended(on.success),
    failure: ended(on.failure),
  });
  const putBack = () => {
    connection = null;
    waiting = true;
    if (isPaused) one.rest();
  };
  const queue = {
    peek: () => (waiting && !one.isOver && !isPaused ? settings : null),
    take: (by) => {
      connection = last = by;
      waiting = false;
      return one;
    },
    putBack: () => {
      one.interrupt();
      putBack();
    },
    interrupted: putBack,
    left: putBack,
    giveUp: (failure) => one.failWith(failure),
    closed: (by) => by === last && one.isOver && close(),
  };
  const { retries, restarts } = settings;
  const pool = new Pool({ limit: 1, retries, restarts, can: ["resume"], onretry: on.retry }, queue);
  if (settings.signal?.aborted) queueMicrotask(() => one.abortBySignal());
  else pool.fill();
  return {
    done: one.done,
    abort: one.abort,
    pause() {
      if (isPaused || one.isOver) return;
      isPaused = true;
      if (connection === null) {
        one.rest();
        pool.fill(); // nothing is left to wait for
      } else isPaused = connection.leave(one);
    },
    resume() {
      if (!isPaused) return;
      isPaused = false;
      if (!connection?.stay(one)) pool.fill();
    },
  };
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
  const { abort, pause, resume, done } = transfer(options, {
    progress(event) {
      latest = event;
      notify();
      callHandler(options.onprogress, event);
    },
    error: (signal) => callHandler(options.onerror, signal),
    success: end,
    failure: end,
    retry: (attempt) => callHandler(options.onretry, attempt),
  });
  return {
    abort,
    pause,
    resume,
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

/**
 * The interface of the original client: handlers. Its further options are those of `upload`, but for
 * `retries`, `onretry` and `resume`: the upload goes on after a lost connection only where the server
 * continues it, and calls no handler for that. Without `folder` no folder is sent.
 */
function GalileoSend(options) {
  const { url, file, name, folder = "", hash, token, ticket } = options;
  const { chunksize, signal, timeout, worker } = options;
  const one = { url, file, name, folder, hash, token, ticket, chunksize, signal, timeout, worker };
  const { abort, done } = transfer({ ...one, restarts: false }, {
    chunk: (ratio) => callHandler(options.onchunk, ratio),
    error: (signal) => callHandler(options.onerror, signal),
    success: () => callHandler(options.onsuccess),
    failure: (error) => callHandler(options.onfailure, error.signals),
    close: () => callHandler(options.onclose),
  });
  return { abort, done };
}

/** Upload many files, on a few connections. */
function uploadAll(options) {
  return new Uploads(options);
}
