"use strict";

// Reads a file slice by slice, hashes it, and gives the bytes back without copying them.
//
// Every question is a message, and the answers come in the order of the questions, as
// {value} or {error: {name, message}}:
//   {file, library, create}  which file, and the script and function that make the hasher
//   {start, end}             the bytes of the file from `start` to before `end`, an ArrayBuffer
//   {digest: true}           the hash of all bytes read, in hex
// How many slices are in memory is the asker's choice: as many as it has questions open.

let file = null;
let hasher = null;
let turn = Promise.resolve();

async function open(question) {
  file = question.file;
  importScripts(question.library);
  hasher = await globalThis.hashwasm[question.create]();
}

async function read({ start, end }, earlier) {
  // Reading begins at once, so that it overlaps with hashing the slice before.
  // A file that is gone has the size 0 and empty slices; only as a whole it cannot be read.
  const reading = (end > start ? file.slice(start, end) : file).arrayBuffer();
  const [data] = await Promise.all([reading, earlier]);
  hasher.update(new Uint8Array(data));
  return data;
}

async function digest(earlier) {
  await earlier;
  return hasher.digest("hex");
}

function work(question, earlier) {
  if (question.file) return open(question);
  return question.digest ? digest(earlier) : read(question, earlier);
}

self.onmessage = ({ data: question }) => {
  // After a failure every later answer is that failure too: the hash has a hole.
  turn = work(question, turn);
  turn.then(
    (value) => self.postMessage({ value }, value instanceof ArrayBuffer ? [value] : []),
    ({ name, message }) => self.postMessage({ error: { name, message } }),
  );
};
