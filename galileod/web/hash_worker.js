"use strict";

// Reads a file slice by slice, hashes it, and transfers the bytes to the page without a copy.
//
// Each request is a message; responses come in the order of the requests, as {value} or
// {error: {name, message}}:
//   {file, library, create}  the file, the script of the library, and its function that makes a hasher
//   {start, end}             the bytes of the file from `start` to before `end`, an ArrayBuffer
//   {digest: true}           the hash of all bytes read, in hex
// The page limits the slices in memory: there is one for each request without a response.

let file = null;
let hasher = null;
let last = Promise.resolve();

async function open(request) {
  file = request.file;
  importScripts(request.library);
  hasher = await globalThis.hashwasm[request.create]();
}

async function read({ start, end }, previous) {
  // Reading starts at once, so that it overlaps with hashing the previous slice. A deleted file
  // has the size 0, and its empty slices can be read; the file itself cannot.
  const reading = (end > start ? file.slice(start, end) : file).arrayBuffer();
  const [data] = await Promise.all([reading, previous]);
  hasher.update(new Uint8Array(data));
  return data;
}

async function digest(previous) {
  await previous;
  return hasher.digest("hex");
}

function handle(request, previous) {
  if (request.file) return open(request);
  return request.digest ? digest(previous) : read(request, previous);
}

self.onmessage = ({ data: request }) => {
  // After a failure every later request fails too: the hash would miss bytes.
  last = handle(request, last);
  last.then(
    (value) => self.postMessage({ value }, value instanceof ArrayBuffer ? [value] : []),
    ({ name, message }) => self.postMessage({ error: { name, message } }),
  );
};
