// The browser client of galileod, for both forms in which it is served:
//   /galileo.js       module.head.js  + core.js + module.tail.js
//   /galileo_send.js  classic.head.js + core.js + classic.tail.js
// joined as they are. The head defines GALILEO_BASE, the URL of the folder that the script came
// from; hash_worker.js and vendor/ are looked for there. This part has neither import nor export,
// and is strict code in both forms.

const DEFAULT_CHUNK = 250_000; // bytes, where neither server nor page says: the protocol's habit
const MAX_CHUNK = 16 * 2 ** 20; // bytes; a server may name more, but a slice is held in memory
const MAX_CREDITS = 1024; // open `ready` signals; a server that sends more waits for no chunks
const MAX_FAULTS = 100; // error signals kept for onfailure
const READ_AHEAD = 4 * 2 ** 20; // bytes; two slices are read ahead, more only if this holds them
const MAX_BUFFERED = 8 * 2 ** 20; // bytes the WebSocket may hold before the next chunk waits
const DEFAULT_TIMEOUT = 60_000; // ms without a sign of life
const VERIFYING = 20_000; // bytes a ms that a server reads back at the least before it says `close`
const CLOSE_TIMEOUT = 5_000; // ms for the closing handshake before `onclose` is called anyway
const TICK = 200; // ms between two progress events, and two looks at the clock
const POLL = 20; // ms between two looks at a full WebSocket, which tells nobody when it drains
const RATE_TICKS = 15; // the rate is that of the last three seconds

const OPEN = 1; // readyState of a WebSocket
const CLOSED = 3;

const HASHES = {
  sha1: "createSHA1",
  sha256: "createSHA256",
  sha512: "createSHA512",
  blake2b: "createBLAKE2b",
};

/** An upload that did not succeed. `signals` is never empty; the last one is why it ended. */
class UploadError extends Error {
  constructor(signals, options) {
    const { error, code } = signals[signals.length - 1];
    const reason = typeof error === "string" ? error : JSON.stringify(error);
    super(reason, options);
    this.name = "UploadError";
    this.signals = signals;
    this.code = typeof code === "string" ? code : "error";
    this.reason = reason;
  }
}

/** Call a page's handler. Its exceptions are the page's own and must not end the upload. */
function call(handler, ...values) {
  if (typeof handler !== "function") return;
  try {
    handler(...values);
  } catch (error) {
    if (typeof reportError === "function") reportError(error);
    else console.error(error);
  }
}

function absolute(url) {
  const base = typeof document === "object" ? document.baseURI : globalThis.location?.href;
  return new URL(url, base);
}

function webSocketURL(url) {
  const target = absolute(url);
  target.protocol = target.protocol.replace(/^http/, "ws");
  target.hash = ""; // a WebSocket refuses it
  return target.href;
}

/** The options with defaults. Throws TypeError for what can only be a mistake in the page. */
function settingsOf(options) {
  const { file, hash, worker } = options;
  if (typeof file?.slice !== "function" || !Number.isSafeInteger(file.size)) {
    throw new TypeError("file must be a File or a Blob.");
  }
  const name = options.name ?? file.name;
  if (typeof name !== "string") throw new TypeError("A Blob has no name: give one as `name`.");
  const type = String(hash ?? "sha1").toLowerCase();
  if (type !== "none" && !Object.hasOwn(HASHES, type)) {
    throw new TypeError(`hash must be one of ${Object.keys(HASHES).join(", ")} and none.`);
  }
  const siblings = worker ? absolute(worker).href : GALILEO_BASE;
  return {
    file,
    name,
    size: file.size,
    type,
    // A hash that nobody asked for is a service, and its lack no reason to fail.
    hashWanted: hash !== undefined && hash !== null,
    worker: worker === false ? null : worker ? siblings : new URL("hash_worker.js", siblings).href,
    library: new URL(`vendor/hash-wasm/${type}.umd.min.js`, siblings).href,
    token: options.token ?? options.ticket,
    chunksize: chunkOf(options.chunksize) || DEFAULT_CHUNK,
    timeout: options.timeout > 0 ? Number(options.timeout) : DEFAULT_TIMEOUT,
  };
}

/** A chunk size as a page or a server names it; 0 for everything that names none. */
function chunkOf(value) {
  return Number.isInteger(value) && value > 0 ? Math.min(value, MAX_CHUNK) : 0;
}

/* Readers. Both have read(start, end), a promise of an ArrayBuffer, and digest(), a promise of
 * the hash in hex or of null. Questions are asked from the start of the file to its end, several
 * at once, and answered in that order. */

/** A reader for the file. Hashing is left out where nothing on this page can do it. */
async function openReader(settings, stopping) {
  const { file, type, worker } = settings;
  if (type === "none") return readHere(file, null);
  if (worker && typeof Worker === "function") {
    try {
      return await readInWorker(settings, stopping);
    } catch {
      // Another origin, or a policy of the page: the page's own thread has to do.
      if (stopping.aborted) throw stopping.reason;
    }
  }
  let hasher = null;
  try {
    hasher = await loadHasher(settings);
  } catch (error) {
    if (settings.hashWanted) throw error;
  }
  return readHere(file, hasher);
}

function readInWorker({ file, type, worker: url, library }, stopping) {
  return new Promise((resolve, reject) => {
    const worker = new Worker(url);
    const waiting = [];
    let lost = null;
    const ask = (question) =>
      new Promise((yes, no) => {
        if (lost) return no(lost);
        waiting.push({ yes, no });
        worker.postMessage(question);
      });
    const lose = (error) => {
      lost ??= error;
      worker.terminate();
      for (const { no } of waiting.splice(0)) no(lost);
    };
    worker.onmessage = ({ data: { value, error } }) => {
      const { yes, no } = waiting.shift();
      if (error) no(Object.assign(new Error(error.message), { name: error.name }));
      else yes(value);
    };
    worker.onerror = (event) => {
      event.preventDefault(); // it is told below, or mended by reading here
      lose(new Error(event.message || "The worker cannot be started."));
    };
    worker.onmessageerror = () => lose(new Error("The worker cannot be understood."));
    stopping.addEventListener("abort", () => lose(stopping.reason), { once: true });
    ask({ file, library, create: HASHES[type] }).then(
      () =>
        resolve({
          read: (start, end) => ask({ start, end }),
          digest: () => ask({ digest: true }),
        }),
      (error) => {
        lose(error);
        reject(error);
      },
    );
  });
}

function readHere(file, hasher) {
  let turn = Promise.resolve();
  return {
    read(start, end) {
      // A file that is gone has the size 0 and empty slices; only as a whole it cannot be read.
      const reading = (end > start ? file.slice(start, end) : file).arrayBuffer();
      turn = Promise.all([reading, turn]).then(([data]) => {
        hasher?.update(new Uint8Array(data));
        return data;
      });
      return turn;
    },
    digest: () => turn.then(() => (hasher ? hasher.digest("hex") : null)),
  };
}

async function loadHasher({ type, library }) {
  const create = () => globalThis.hashwasm?.[HASHES[type]];
  if (!create()) await loadScript(library);
  if (!create()) throw new Error("The hash library did not load.");
  return create()();
}

function loadScript(url) {
  if (typeof document !== "object") return import(url);
  // An element, since import() would need CORS where the page is of another origin.
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = url;
    script.onload = () => {
      script.remove();
      resolve();
    };
    script.onerror = () => {
      script.remove();
      reject(new Error("The hash library cannot be loaded."));
    };
    document.head.append(script);
  });
}

/**
 * One upload. `on` is told of it: error, failure, success, and where it has them chunk, progress
 * and close. None of them is called before this has returned.
 */
function transfer(options, on) {
  const settings = settingsOf(options);
  const { name, size, timeout } = settings;
  const began = performance.now();
  const stopping = new AbortController();
  const faults = [];
  const credits = []; // what each open `ready` allows, in bytes, oldest first
  const slices = []; // {data, end}: read or being read for credits taken from there
  const samples = [{ at: began, sent: 0 }];
  let socket = null;
  let reader = null;
  let opened = false;
  let planned = 0; // up to here slices have been asked for
  let planComplete = false;
  let sent = 0; // up to here the WebSocket has been given the file
  let sentComplete = false;
  let claim = null;
  let finished = null; // the signal, once the hash is known
  let finishedSent = false;
  let over = false;
  let active = began; // the last sign of life
  let suspected = false;
  let buffered = 0;
  let ticking = null;
  let polling = null;
  let settle;
  const done = new Promise((resolve, reject) => {
    settle = { resolve, reject };
  });
  done.catch(() => {}); // a page that only uses handlers shall not see an unhandled rejection

  function touch() {
    active = performance.now();
    suspected = false;
  }

  /** Ask for slices: only against credits, and only a little ahead of the WebSocket. */
  function plan() {
    while (!planComplete && credits.length > 0) {
      const end = Math.min(planned + credits[0], size);
      if (slices.length >= 2 && end - sent > READ_AHEAD) return;
      credits.shift();
      const slice = { data: null, end };
      slices.push(slice);
      const length = end - planned;
      reader.read(planned, end).then((data) => {
        touch();
        if (data.byteLength !== length) {
          fail("file_changed", `"${name}" changed its size while it was being read.`);
          return;
        }
        slice.data = data;
        pump();
      }, unreadable);
      planned = end;
      if (planned === size) {
        planComplete = true;
        reader.digest().then((value) => {
          touch();
          claim = value === null ? null : { type: settings.type, value };
          finished = JSON.stringify(claim ? { finished: true, hash: claim } : { finished: true });
          pump();
        }, unreadable);
      }
    }
  }

  /** Send whatever can be sent. Called whenever anything has changed. */
  function pump() {
    if (over || !reader || socket.readyState !== OPEN) return;
    plan();
    while (slices.length > 0 && slices[0].data !== null) {
      if (socket.bufferedAmount >= MAX_BUFFERED) {
        polling ??= setTimeout(() => {
          polling = null;
          pump();
        }, POLL);
        return;
      }
      const { data, end } = slices.shift();
      socket.send(data);
      sent = end;
      sentComplete = end === size;
      touch();
      plan(); // the next slice is read while the page's handler runs
      on.chunk?.(size > 0 ? sent / size : 1);
    }
    while (sentComplete && finished !== null && credits.length > 0) {
      credits.shift();
      socket.send(finished);
      finishedSent = true;
      touch();
    }
  }

  function receive(text) {
    touch();
    let signal = null;
    try {
      signal = JSON.parse(text);
    } catch {
      // It stays null, which is no signal either.
    }
    if (signal === null || typeof signal !== "object" || Array.isArray(signal)) {
      const quoted = typeof text === "string" ? JSON.stringify(text.slice(0, 80)) : "binary data";
      fail("bad_message", `The server sent what is no signal: ${quoted}.`);
    } else if (signal.close) {
      if (sentComplete) succeed(signal);
      else fail("closed_early", "The server ended the upload before everything was sent.");
    } else if (signal.error) {
      if (faults.length < MAX_FAULTS || signal.fatal) faults.push(signal);
      on.error(signal);
      if (signal.fatal && !over) finish(new UploadError(faults));
    } else if (signal.ready) {
      if (credits.length >= MAX_CREDITS) {
        fail("bad_message", `The server has more than ${MAX_CREDITS} ready signals open.`);
        return;
      }
      credits.push(chunkOf(signal.chunksize) || settings.chunksize);
      pump();
    }
  }

  function progress() {
    const now = performance.now();
    // What the WebSocket still holds is not sent, whatever onchunk says; nor does a bar go back.
    const last = samples[samples.length - 1].sent;
    const gone = over ? size : Math.max(last, sent - socket.bufferedAmount);
    samples.push({ at: now, sent: gone });
    if (samples.length > RATE_TICKS + 1) samples.shift();
    const [first] = samples;
    const rate = now > first.at ? ((gone - first.sent) * 1000) / (now - first.at) : 0;
    on.progress?.({ sent: gone, size, ratio: size > 0 ? gone / size : Number(over), rate });
  }

  function tick() {
    if (socket.bufferedAmount < buffered) touch();
    buffered = socket.bufferedAmount;
    if (opened) progress();
    const patience = timeout + (finishedSent ? size / VERIFYING : 0);
    if (over || performance.now() - active < patience) return;
    // A page that was frozen finds itself here before it sees what came meanwhile.
    if (!suspected) {
      suspected = true;
      return;
    }
    const late = finishedSent ? " It may have stored the file all the same." : "";
    fail("timeout", `${awaited()} for ${Math.round(patience / 100) / 10} s.${late}`);
  }

  function awaited() {
    if (!opened) return `The server at ${socket.url} has not answered`;
    if (buffered > 0) return "The connection has taken no data";
    if (slices.length > 0 || credits.length > 0) return `"${name}" has given no data`;
    return "The server has been silent";
  }

  function succeed(signal) {
    const seconds = (performance.now() - began) / 1000;
    // The server may say under which name the file stands.
    const stored = typeof signal.name === "string" && signal.name;
    finish(null, { name: stored || name, size, hash: finishedSent ? claim : null, seconds });
  }

  function fail(code, error, cause) {
    if (over) return;
    faults.push({ error, fatal: true, code });
    finish(new UploadError(faults, cause === undefined ? undefined : { cause }));
  }

  function unreadable(error) {
    const why = error?.name || "Error";
    const guess = "It may have been changed, moved or deleted since it was chosen";
    fail("file_unreadable", `"${name}" cannot be read. ${guess} (${why}).`, error);
  }

  function cancel(cause) {
    const late = finishedSent ? " The server may have stored the file all the same." : "";
    fail("aborted", `The upload was cancelled.${late}`, cause);
  }

  const abort = () => cancel();
  const onabort = () => cancel(options.signal.reason);

  function finish(error, receipt) {
    over = true;
    clearInterval(ticking);
    clearTimeout(polling);
    options.signal?.removeEventListener("abort", onabort);
    slices.length = 0; // which also ends the loop that we may have been called from
    credits.length = 0;
    stopping.abort();
    if (socket) {
      socket.onopen = socket.onmessage = socket.onerror = socket.onclose = null;
      if (socket.readyState !== CLOSED) socket.close(1000);
    }
    if (error) {
      settle.reject(error);
      on.failure(error);
    } else {
      progress();
      settle.resolve(receipt);
      on.success(receipt);
    }
    if (on.close) awaitClose();
  }

  function awaitClose() {
    if (!socket || socket.readyState === CLOSED) {
      on.close();
      return;
    }
    const closed = () => {
      clearTimeout(waiting);
      socket.onclose = null;
      on.close();
    };
    const waiting = setTimeout(closed, CLOSE_TIMEOUT); // a dead network answers nothing
    socket.onclose = closed;
  }

  try {
    socket = options.signal?.aborted ? null : new WebSocket(webSocketURL(options.url));
  } catch (error) {
    // Not at once: no handler is called before the page has what this function returns.
    const why = `There is no way to ${options.url}: ${error.message}`;
    queueMicrotask(() => fail("connection_failed", why, error));
    return { abort, done };
  }
  if (!socket) {
    queueMicrotask(onabort);
    return { abort, done };
  }
  options.signal?.addEventListener("abort", onabort);
  socket.binaryType = "arraybuffer";
  socket.onopen = () => {
    opened = true;
    touch();
    socket.send(JSON.stringify({ name, size, token: settings.token })); // no token: no key
  };
  socket.onmessage = ({ data }) => receive(data);
  socket.onerror = () => {
    if (opened) {
      fail("connection_lost", "The connection to the server broke.");
    } else {
      const refused = "cannot be reached, or takes no uploads from this page"; // browsers do not tell
      fail("connection_failed", `The server at ${socket.url} ${refused}.`);
    }
  };
  socket.onclose = ({ code, reason }) => {
    const why = reason ? `${code}, ${reason}` : code;
    fail("connection_lost", `The connection was closed before the file was confirmed (${why}).`);
  };
  ticking = setInterval(tick, TICK);
  openReader(settings, stopping.signal).then(
    (ready) => {
      touch();
      reader = ready;
      pump();
    },
    (error) => {
      const lack = `This page cannot compute ${settings.type}`;
      fail("hash_unavailable", `${lack}: ${error.message}`, error);
    },
  );
  return { abort, done };
}

/**
 * Upload one file. The result is a promise of the receipt, and an async iterator of the progress,
 * which shows the latest event only, so that a slow reader misses some but is never behind.
 */
function upload(options) {
  let latest = null;
  let over = false;
  let wake;
  let news;
  const tell = () => {
    wake?.();
    news = new Promise((resolve) => {
      wake = resolve;
    });
  };
  tell();
  const end = () => {
    over = true;
    tell();
  };
  const { abort, done } = transfer(options, {
    progress(event) {
      latest = event;
      tell();
      call(options.onprogress, event);
    },
    error: (signal) => call(options.onerror, signal),
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
        if (latest === seen) await news;
        else yield (seen = latest);
      }
      await done;
    },
  };
}

/** The original client's interface: handlers. Options that it had not are those of `upload`. */
function GalileoSend(options) {
  return transfer(options, {
    chunk: (ratio) => call(options.onchunk, ratio),
    error: (signal) => call(options.onerror, signal),
    success: () => call(options.onsuccess),
    failure: (error) => call(options.onfailure, error.signals),
    close: () => call(options.onclose),
  });
}
