// Readers of the file. Each has read(start, end), which returns the bytes or a promise of them, and
// digest(), which returns the hash of the whole file, in hex, or null, or a promise of that. Slices
// are read in the order of the file; several calls may be pending, and their promises are resolved
// in order. seek(offset) goes to another place of the file, from where the next slice is read; its
// promise is that of the hash of the bytes below, or of null. states() is a promise of places where
// the hash can begin ({at, state}, for a later reader). recycle(bytes) takes back bytes that are
// not needed any more.

const MAX_LOADED = 4 * 2 ** 20; // bytes of a file that is read at once; READ_AHEAD limits their sum
const MAX_SPARE = 3; // buffers that are kept for the next slices
const SEEK_SLICE = 4 * 2 ** 20; // bytes that are read and hashed at once on the way to a place
const SAVED_STATES = 32; // the newest ones, as states() gives them

/** The hash library cannot be loaded; `cause` says why. */
class HashError extends Error {
  constructor(cause) {
    super(cause.message, { cause });
  }
}

/** The file has another size than it said. */
class LengthError extends Error {}

/** The failure of a file by this error: {code, error, cause}. `settings` are those of readOptions. */
function readingFailure({ name, hashType }, error) {
  if (error instanceof HashError) {
    const { cause } = error;
    const reason = `This page cannot compute ${hashType}: ${cause.message}`;
    return { code: "hash_unavailable", error: reason, cause };
  }
  if (error instanceof LengthError) {
    const reason = `The size of "${name}" changed while it was being read.`;
    return { code: "file_changed", error: reason };
  }
  const lead = `"${name}" cannot be read.`;
  const guess = "It may have been changed, moved or deleted since it was chosen";
  const reason = `${lead} ${guess} (${error?.name || "Error"}).`;
  return { code: "file_unreadable", error: reason, cause: error };
}

/**
 * A reader for the file of `settings`. It hashes in a Worker if one can be started, else on the
 * page's thread. If the hash library cannot be loaded there and the hash is not required, it does
 * not hash; if it is, HashError is thrown. The AbortSignal `stopping` ends the Worker. `states` are
 * what another reader of this file gave.
 */
async function openReader(settings, stopping, states) {
  const { file, hashType, worker } = settings;
  if (hashType === "none") return pageReader(file, null);
  if (worker && typeof Worker === "function") {
    try {
      return await workerReader(settings, stopping, states);
    } catch {
      // The script has another origin, or the page's policy forbids Workers: read on the page.
      if (stopping.aborted) throw stopping.reason;
    }
  }
  const hasher = await hasherFor(settings);
  return pageReader(file, hasher && new ResumableHash(hasher, states));
}

/** A hasher for the page's thread; null if there is none and none is required. */
async function hasherFor(settings) {
  try {
    return await loadHasher(settings);
  } catch (error) {
    if (settings.hashRequired) throw new HashError(error);
    return null;
  }
}

/** A reader that has read and hashed the whole file: for small files, with a Worker for none. */
async function loadFile(settings) {
  // Not a slice, for which the browser would look at the disk again.
  const data = await settings.file.arrayBuffer();
  if (data.byteLength !== settings.size) throw new LengthError();
  const hash = await hashOf(data, settings);
  return {
    read: (start, end) => new Uint8Array(data, start, end - start),
    digest: () => hash,
    seek: async () => null, // not worth another hash: there is no part of so small a file, or little
    states: async () => [],
  };
}

// The names of the browser's own hash functions, which are faster than the library's.
const DIGESTS = { sha1: "SHA-1", sha256: "SHA-256", sha512: "SHA-512" };

async function hashOf(data, settings) {
  const { hashType } = settings;
  if (hashType === "none") return null;
  const subtle = globalThis.crypto?.subtle; // only on pages from https: and from this machine
  if (subtle && DIGESTS[hashType]) {
    const digest = await subtle.digest(DIGESTS[hashType], data);
    return hexOf(new Uint8Array(digest));
  }
  const hasher = await hasherFor(settings);
  return hasher ? hasher.update(new Uint8Array(data)).digest("hex") : null;
}

/** A reader in a Worker; the messages are described in hash_worker.js. */
function workerReader({ file, hashType, worker: url, library }, stopping, states) {
  return new Promise((resolve, reject) => {
    const worker = new Worker(url);
    const waiting = []; // {resolve, reject} of each open request, oldest first
    let failure = null;
    const spare = []; // buffers for the next slices: new ones cost more than the copy into them
    const ask = (request, transfer = []) =>
      new Promise((resolve, reject) => {
        if (failure) return reject(failure);
        waiting.push({ resolve, reject });
        worker.postMessage(request, transfer);
      });
    const read = (start, end) => {
      const buffer = spare.pop();
      return ask({ start, end, buffer }, buffer ? [buffer] : []);
    };
    const fail = (error) => {
      failure ??= error;
      worker.terminate();
      for (const request of waiting.splice(0)) request.reject(failure);
    };
    worker.onmessage = ({ data: { value, error } }) => {
      const request = waiting.shift();
      if (error) request.reject(Object.assign(new Error(error.message), { name: error.name }));
      else request.resolve(value);
    };
    worker.onerror = (event) => {
      event.preventDefault(); // it is handled here; the console need not report it
      fail(new Error(event.message || "The Worker could not be started."));
    };
    worker.onmessageerror = () => fail(new Error("A message of the Worker could not be read."));
    stopping.addEventListener("abort", () => fail(stopping.reason), { once: true });
    ask({ file, library, create: HASHES[hashType], states }).then(
      () =>
        resolve({
          read,
          digest: () => ask({ digest: true }),
          seek: (offset) => ask({ seek: offset }),
          states: () => ask({ states: SAVED_STATES }),
          recycle(bytes) {
            if (spare.length < MAX_SPARE) spare.push(bytes.buffer);
          },
        }),
      (error) => {
        fail(error);
        reject(error);
      },
    );
  });
}

/** A reader on the page's own thread; `hash`, a ResumableHash, is null: without a hash. */
function pageReader(file, hash) {
  let previous = Promise.resolve();
  const goTo = async (offset) => {
    // Of an empty file nothing else is read; see below.
    if (file.size === 0) await file.arrayBuffer();
    if (!hash) return null;
    for (let at = hash.back(offset); at < offset; at = hash.at) {
      const end = Math.min(at + SEEK_SLICE, offset);
      const data = await file.slice(at, end).arrayBuffer();
      if (data.byteLength !== end - at) throw new LengthError();
      hash.update(new Uint8Array(data));
    }
    return hash.digest();
  };
  return {
    read(start, end) {
      // A deleted file has the size 0, and its empty slices can be read; the file itself cannot.
      const reading = (end > start ? file.slice(start, end) : file).arrayBuffer();
      previous = Promise.all([reading, previous]).then(([data]) => {
        hash?.update(new Uint8Array(data));
        return data;
      });
      return previous;
    },
    digest: () => previous.then(() => hash?.digest() ?? null),
    seek(offset) {
      const last = previous;
      previous = last.then(() => goTo(offset));
      return previous;
    },
    states: () => previous.then(() => hash?.states(SAVED_STATES) ?? []),
  };
}

async function loadHasher({ hashType, library }) {
  const create = () => globalThis.hashwasm?.[HASHES[hashType]];
  if (!create()) await loadScript(library);
  if (!create()) throw new Error("The hash library did not load.");
  return create()();
}

function loadScript(url) {
  if (typeof document !== "object") return import(/* webpackIgnore: true */ /* @vite-ignore */ url);
  // A script element, since import() from another origin would need CORS.
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = url;
    script.onload = () => {
      script.remove();
      resolve();
    };
    script.onerror = () => {
      script.remove();
      reject(new Error("The hash library could not be loaded."));
    };
    document.head.append(script);
  });
}
