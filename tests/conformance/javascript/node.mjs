// node node.mjs FOLDER URL FILE...: sends a file with the JavaScript client, or several ones on one
// connection. FOLDER has what a daemon serves: galileo.js and vendor/. The WebSocket is that of the package ws, as long as it is
// installed, so that the results are the same with each Node.js: it has one of its own from 22 on.

import { existsSync } from "node:fs";
import { open } from "node:fs/promises";
import { createRequire } from "node:module";
import { basename } from "node:path";
import { pathToFileURL } from "node:url";

const WS = "/usr/share/nodejs/ws"; // where Debian's package node-ws is

/** What the client needs of a Blob, for a file of any size; openAsBlob came with Node.js 19.8. */
async function openFile(path) {
  const handle = await open(path);
  const { size } = await handle.stat();
  const slice = (start, end) => ({
    async arrayBuffer() {
      const buffer = new ArrayBuffer(end - start);
      const { bytesRead } = await handle.read(new Uint8Array(buffer), 0, end - start, start);
      return buffer.slice(0, bytesRead);
    },
  });
  return { name: basename(path), size, slice, ...slice(0, size) };
}

const [folder, url, ...paths] = process.argv.slice(2);
if (existsSync(WS)) globalThis.WebSocket = createRequire(import.meta.url)(WS);
const { upload, uploadAll } = await import(pathToFileURL(`${folder}/galileo.js`));

const files = await Promise.all(paths.map(openFile));
let failures = [];
if (files.length === 1) {
  await upload({ url, file: files[0] }).done.catch((error) => failures.push(error));
} else {
  const results = await uploadAll({ url, files, connections: 1 }).done;
  failures = results.filter((result) => result instanceof Error);
}
for (const { message } of failures) console.error(message);
process.exit(failures.length > 0 ? 1 : 0);
