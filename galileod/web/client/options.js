// The options of `upload` and `GalileoSend`: checked, and completed with defaults.

const DEFAULT_CHUNK = 250_000; // bytes, as in the original client
const DEFAULT_TIMEOUT = 60_000; // ms without activity

// The function in the library's global `hashwasm` that makes a hasher.
const HASHES = {
  sha1: "createSHA1",
  sha256: "createSHA256",
  sha512: "createSHA512",
  blake2b: "createBLAKE2b",
};

/** The options with defaults. Throws TypeError for values that are never valid. */
function readOptions(options) {
  const { file, hash, worker } = options;
  const size = file?.size; // read once: browsers look at the disk each time
  if (typeof file?.slice !== "function" || !Number.isSafeInteger(size)) {
    throw new TypeError("file must be a File or a Blob.");
  }
  const { retries, handle = null } = options;
  if (retries !== undefined && retries !== Infinity && !(Number.isInteger(retries) && retries >= 0)) {
    throw new TypeError("retries must be an integer of at least 0, or Infinity.");
  }
  const name = options.name ?? file.name;
  if (typeof name !== "string") {
    throw new TypeError("name must be a string; it is required for a Blob.");
  }
  const folder = options.folder ?? folderOf(file);
  if (typeof folder !== "string") throw new TypeError("folder must be a string.");
  const hashType = String(hash ?? "sha1").toLowerCase();
  if (hashType !== "none" && !Object.hasOwn(HASHES, hashType)) {
    throw new TypeError(`hash must be one of ${Object.keys(HASHES).join(", ")}, none.`);
  }
  const token = options.token ?? options.ticket;
  const files = worker ? filesBeside(absoluteURL(worker)) : galileoFiles();
  return {
    url: options.url,
    signal: options.signal,
    file,
    size,
    name,
    folder,
    modified: Number.isInteger(file.lastModified) ? file.lastModified : undefined,
    retries,
    restarts: options.restarts ?? true,
    resume: Boolean(options.resume) && file.lastModified !== undefined,
    handle,
    hashType,
    // If the default hash cannot be computed, the file is sent without a hash.
    hashRequired: hash !== undefined && hash !== null,
    worker: worker === false ? null : files.worker,
    library: files.library(hashType),
    token,
    tokens: tokensOf(token),
    chunksize: chunkSize(options.chunksize) || DEFAULT_CHUNK,
    timeout: options.timeout > 0 ? Number(options.timeout) : DEFAULT_TIMEOUT,
  };
}

/** The addresses of the Worker's script, which this is, and of the hash library in vendor/. */
function filesBeside(worker) {
  const library = (hashType) => new URL(`vendor/hash-wasm/${hashType}.umd.min.js`, worker).href;
  return { worker: worker.href, library };
}

/** The folder part of the path that a file has below a folder that was chosen; "" without one. */
function folderOf({ webkitRelativePath: path = "" }) {
  return path.slice(0, Math.max(0, path.lastIndexOf("/")));
}

function absoluteURL(url) {
  const base = typeof document === "object" ? document.baseURI : globalThis.location?.href;
  return new URL(url, base);
}

/** The ws: or wss: URL for one that may be http:, https: or relative to the page. */
function webSocketURL(url) {
  const target = absoluteURL(url);
  target.protocol = target.protocol.replace(/^http/, "ws");
  target.hash = ""; // the WebSocket constructor of older browsers refuses a fragment
  return target.href;
}
