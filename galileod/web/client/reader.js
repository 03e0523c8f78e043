// Readers of the file. Each has read(start, end), a promise of an ArrayBuffer, and digest(), a
// promise of the hash of all bytes read, in hex, or of null. Slices are read in the order of the
// file; several calls may be pending, and their promises are resolved in order.

/**
 * A reader for the file of `settings`. It hashes in a Worker if one can be started, else on the
 * page's thread. If the hash library cannot be loaded there and the hash is not required, it does
 * not hash. The AbortSignal `stopping` ends the Worker.
 */
async function openReader(settings, stopping) {
  const { file, hashType, worker } = settings;
  if (hashType === "none") return pageReader(file, null);
  if (worker && typeof Worker === "function") {
    try {
      return await workerReader(settings, stopping);
    } catch {
      // The script has another origin, or the page's policy forbids Workers: read on the page.
      if (stopping.aborted) throw stopping.reason;
    }
  }
  let hasher = null;
  try {
    hasher = await loadHasher(settings);
  } catch (error) {
    if (settings.hashRequired) throw error;
  }
  return pageReader(file, hasher);
}

/** A reader in a Worker; the messages are described in hash_worker.js. */
function workerReader({ file, hashType, worker: url, library }, stopping) {
  return new Promise((resolve, reject) => {
    const worker = new Worker(url);
    const waiting = []; // {resolve, reject} of each open request, oldest first
    let failure = null;
    const ask = (request) =>
      new Promise((resolve, reject) => {
        if (failure) return reject(failure);
        waiting.push({ resolve, reject });
        worker.postMessage(request);
      });
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
    ask({ file, library, create: HASHES[hashType] }).then(
      () =>
        resolve({
          read: (start, end) => ask({ start, end }),
          digest: () => ask({ digest: true }),
        }),
      (error) => {
        fail(error);
        reject(error);
      },
    );
  });
}

/** A reader on the page's own thread; `hasher` null: without a hash. */
function pageReader(file, hasher) {
  let previous = Promise.resolve();
  return {
    read(start, end) {
      // A deleted file has the size 0, and its empty slices can be read; the file itself cannot.
      const reading = (end > start ? file.slice(start, end) : file).arrayBuffer();
      previous = Promise.all([reading, previous]).then(([data]) => {
        hasher?.update(new Uint8Array(data));
        return data;
      });
      return previous;
    },
    digest: () => previous.then(() => (hasher ? hasher.digest("hex") : null)),
  };
}

async function loadHasher({ hashType, library }) {
  const create = () => globalThis.hashwasm?.[HASHES[hashType]];
  if (!create()) await loadScript(library);
  if (!create()) throw new Error("The hash library did not load.");
  return create()();
}

function loadScript(url) {
  if (typeof document !== "object") return import(url);
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
