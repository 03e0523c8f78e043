// Reads a file slice by slice, hashes it, and transfers the bytes to the page without a copy.
//
// Each request is a message; responses come in the order of the requests, as {value} or
// {error: {name, message}}:
//   {file, library, create,  the file, the script of the library, its function that makes a hasher,
//    states}                 and states of the hash that an earlier reader has saved
//   {start, end, buffer}     the bytes of the file from `start` to before `end`, a Uint8Array;
//                            in `buffer`, an ArrayBuffer that the page gives back, if it is large enough
//   {digest: true}           the hash of all bytes read, in hex
//   {seek}                   the same of the bytes below this offset: the next slice begins there
//   {states}                 at most so many states of the hash, {at, state}, the newest ones
// The page limits the slices in memory: there is one for each request without a response.

// Bytes that are read with one stream. The browser notices that a file was changed when it opens
// one, so that a change of a large file does not go unnoticed to its end.
const STREAM = 64 * 2 ** 20;
const SEEK_SLICE = 4 * 2 ** 20; // bytes that are read at once on the way to an offset

let file = null;
let hash = null; // a ResumableHash
let last = Promise.resolve();
// The open stream. It must be referenced from here while a read is pending: Chromium's garbage
// collector frees a stream that is not, and the promise is never resolved.
let stream = null; // {reader, at, end}: the bytes of the file that come next
let canStream = true;

async function open(request) {
  file = request.file;
  importScripts(request.library);
  hash = new ResumableHash(await globalThis.hashwasm[request.create](), request.states);
}

/** A stream at `start`; null if the browser has none that reads into a given buffer. */
function streamAt(start) {
  if (stream?.at === start && start < stream.end) return stream;
  stream?.reader.cancel();
  const end = Math.min(start + STREAM, file.size);
  try {
    const reader = file.slice(start, end).stream().getReader({ mode: "byob" });
    stream = { reader, at: start, end };
  } catch {
    stream = null; // Safari's streams of files are no byte streams
    canStream = false;
  }
  return stream;
}

/** Read and hash the bytes in pieces: the browser reads the next one while this one is hashed. */
async function readStream({ start, end, buffer }) {
  const length = end - start;
  let target = buffer?.byteLength >= length ? buffer : new ArrayBuffer(length);
  for (let got = 0; got < length; ) {
    const { reader } = streamAt(start + got);
    const view = new Uint8Array(target, got, Math.min(length, stream.end - start) - got);
    const { value, done } = await reader.read(view);
    if (done) throw new DOMException("The file has become shorter.", "NotReadableError");
    hash.update(value);
    target = value.buffer;
    got += value.byteLength;
    stream.at += value.byteLength;
  }
  return new Uint8Array(target, 0, length);
}

async function read(request, previous) {
  const { start, end } = request;
  if (canStream && end > start) {
    await previous;
    if (streamAt(start)) return readStream(request);
  }
  // Reading starts at once, so that it overlaps with hashing the previous slice. A deleted file
  // has the size 0, and its empty slices can be read; the file itself cannot.
  const reading = (end > start ? file.slice(start, end) : file).arrayBuffer();
  const [data] = await Promise.all([reading, previous]);
  const bytes = new Uint8Array(data);
  hash.update(bytes);
  return bytes;
}

async function digest(previous) {
  await previous;
  // It fails if the file was changed behind the stream.
  if (stream) await file.slice(0, 1).arrayBuffer();
  return hash.digest();
}

async function seek(offset, previous) {
  await previous;
  if (file.size === 0) await file.arrayBuffer(); // of an empty file nothing else is read
  let buffer;
  for (let start = hash.back(offset); start < offset; start = hash.at) {
    const end = Math.min(start + SEEK_SLICE, offset);
    ({ buffer } = await read({ start, end, buffer }, null));
    if (hash.at !== end) throw new DOMException("The file has become shorter.", "NotReadableError");
  }
  return hash.digest();
}

async function states(most, previous) {
  await previous;
  return hash.states(most);
}

function handle(request, previous) {
  if (request.file) return open(request);
  if (request.seek !== undefined) return seek(request.seek, previous);
  if (request.states !== undefined) return states(request.states, previous);
  return request.digest ? digest(previous) : read(request, previous);
}

self.onmessage = ({ data: request }) => {
  // After a failure every later request fails too: the hash would miss bytes.
  last = handle(request, last);
  last.then(
    (value) => self.postMessage({ value }, value?.buffer ? [value.buffer] : []),
    ({ name, message }) => self.postMessage({ error: { name, message } }),
  );
};
