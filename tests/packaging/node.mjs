// node node.mjs URL FILE: in a project with galileo-upload, sends the file with each of its hashes.
// The WebSocket is that of the package ws where Node.js has none of its own.

import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { upload, uploadAll, unfinished, GalileoSend, UploadError } from "galileo-upload";

globalThis.WebSocket ??= createRequire(import.meta.url)("/usr/share/nodejs/ws");
const [url, path] = process.argv.slice(2);
const file = new Blob([await readFile(path)]);
for (const each of [upload, uploadAll, unfinished, GalileoSend, UploadError]) {
  if (typeof each !== "function") throw new Error(`not exported: ${each}`);
}
const receipts = [];
for (const hash of ["sha1", "sha256", "sha512", "blake2b"]) {
  receipts.push(await upload({ url, file, name: `${hash}.bin`, hash }).done);
}
console.log(JSON.stringify(receipts));
