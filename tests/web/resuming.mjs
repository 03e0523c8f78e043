// The server's side of uploads that continue, for tests.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { ScriptedFile, quiet, until } from "./stage.mjs";

export const CAN = { can: ["resume"], keep: 3600 };

/** The first signal of a server that agrees on both extensions. */
export const BOTH = { ...CAN, can: ["resume", "next"], next: 100, whole: 1_000, room: 10_000 };

/** Files f0, f1, … of these sizes. */
export const files = (...sizes) =>
  sizes.map((size, index) => new ScriptedFile(size, { name: `f${index}` }));

export const states = ({ files }) => files.map(({ state }) => state).join(" ");

/** Agree on both extensions with the metadata of file 0, and store it. */
export async function agree(socket, more, close) {
  socket.open();
  socket.say({ ready: true, ...BOTH, offset: 0, ...more });
  await until(() => socket.chunks.length > 0 || socket.finished.length > 0);
  socket.say({ ready: true });
  await until(() => socket.finished.length > 0);
  socket.say({ close: true, ...close });
  await quiet();
}

/** The first `ready` of a server that has `offset` bytes. */
export const first = (offset, more) => ({ ready: true, ...CAN, offset, ...more });

export const sha1 = (bytes) => createHash("sha1").update(bytes).digest("hex");
export const checkOf = (bytes) => ({ type: "sha1", value: sha1(bytes) });

const bytesOf = ({ chunks }) => chunks.reduce((sum, { length }) => sum + length, 0);

/** Grant chunks until the client has sent `bytes` more on this connection. */
export async function take(socket, bytes) {
  for (let got = bytesOf(socket); got < bytes; got = bytesOf(socket)) {
    const before = socket.sent.length;
    socket.say({ ready: true, chunksize: Math.min(bytes - got, 100_000) });
    await until(() => socket.sent.length > before, "an answer to a ready");
  }
}

/** Open a connection and take bytes of its file, the first `ready` included, which has an offset. */
export async function begin(socket, { offset = 0, bytes, check }) {
  socket.open();
  const chunksize = Math.min(bytes, 100_000) || undefined;
  socket.say(first(offset, { chunksize, check }));
  if (bytes > 0) await until(() => socket.chunks.length > 0, "the first chunk");
  await take(socket, bytes);
}

/** Take the rest of a file that is continued at `offset`, and its `finished`. */
export async function complete(socket, size, offset = 0, check) {
  await begin(socket, { offset, bytes: size - offset, check });
  if (size > offset) socket.say({ ready: true });
  await until(() => socket.finished.length > 0, "finished");
}

/** Let the client make its next connection, after whatever wait; returns it. */
export async function next(page) {
  const count = page.sockets.length;
  await quiet();
  for (let ms = 0; ms < 15_000 && page.sockets.length === count; ms += 50) page.clock.advance(50);
  assert.equal(page.sockets.length, count + 1, "another connection");
  return page.sockets[count];
}

/** No connection is made any more. */
export async function none(page) {
  const count = page.sockets.length;
  await quiet();
  page.clock.advance(60_000);
  await quiet();
  assert.equal(page.sockets.length, count, "another connection");
}

export const fault = (code, more) => ({ error: `It is ${code}.`, fatal: true, code, ...more });
