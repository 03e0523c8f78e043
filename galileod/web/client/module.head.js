// The addresses of the other files. Each is written out: bundlers copy the files that are named so.
const GALILEO_LIBRARIES = {
  sha1: () => new URL("./vendor/hash-wasm/sha1.umd.min.js", import.meta.url).href,
  sha256: () => new URL("./vendor/hash-wasm/sha256.umd.min.js", import.meta.url).href,
  sha512: () => new URL("./vendor/hash-wasm/sha512.umd.min.js", import.meta.url).href,
  blake2b: () => new URL("./vendor/hash-wasm/blake2b.umd.min.js", import.meta.url).href,
};
const galileoFiles = () => ({
  worker: new URL("./hash_worker.js", import.meta.url).href,
  library: (hashType) => GALILEO_LIBRARIES[hashType]?.(),
});

