// node node.mjs FOLDER URL FILE: sends a file with the JavaScript client. FOLDER has what a daemon
// serves: galileo.js and vendor/. Node.js has a WebSocket of its own from version 22 on; for older
// ones it is that of the package ws.

import { openAsBlob } from "node:fs";
import { createRequire } from "node:module";
import { basename } from "node:path";
import { pathToFileURL } from "node:url";

const WS = "/usr/share/nodejs/ws"; // where Debian's package node-ws is

const [folder, url, path] = process.argv.slice(2);
globalThis.WebSocket ??= createRequire(import.meta.url)(WS);
const { upload } = await import(pathToFileURL(`${folder}/galileo.js`));

try {
  await upload({ url, file: await openAsBlob(path), name: basename(path) }).done;
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
