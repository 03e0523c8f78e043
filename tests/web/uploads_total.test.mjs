// What is told of all files of uploadAll together.

import assert from "node:assert/strict";
import { test } from "node:test";
import { ScriptedFile, quiet, stage, until } from "./stage.mjs";

const NEXT = { can: ["next"], next: 10_000, whole: 100, room: 100_000 };

test("of thousands of empty files the time left is right, and the bar moves", async () => {
  const page = stage();
  const empty = (_, index) => new ScriptedFile(0, { name: `f${index}` });
  const files = Array.from({ length: 3_001 }, empty);
  const uploads = page.uploadAll({ url: "ws://host/", connections: 1, hash: "none", files });
  const [socket] = page.sockets;
  socket.open();
  socket.say({ ready: true, ...NEXT }, { ready: true });
  await until(() => socket.finished.length > 0);
  socket.say({ close: true });
  let file = 0;
  for (let second = 0; second < 10; second++) {
    page.clock.advance(1_000);
    for (let count = 0; count < 100; count++) {
      file += 1;
      await until(() => socket.finished.length > file);
      socket.say({ close: true, file });
    }
    await quiet();
  }
  const { size, rate, filesEnded, secondsLeft, ratio } = uploads.progress;
  assert.deepEqual([size, rate, filesEnded], [0, 0, 1_001]);
  assert.ok(Math.abs(secondsLeft - 20) < 0.1, String(secondsLeft));
  assert.equal(ratio, 1_001 / 3_001);
});

test("files that failed or were cancelled are in no total", async () => {
  const page = stage();
  const files = [1, 20, 3].map((size) => new ScriptedFile(size, { name: `${size}` }));
  const uploads = page.uploadAll({ url: "ws://host/", files, maxSize: 10, hash: "none" });
  assert.deepEqual([uploads.progress.size, uploads.progress.files], [4, 2]);
  uploads.files[0].abort();
  assert.deepEqual([uploads.progress.size, uploads.progress.files], [3, 1]);
  uploads.retry([uploads.files[0]]);
  assert.deepEqual([uploads.progress.size, uploads.progress.files], [4, 2]);
});

test("bytes that the server has already are no bytes that are sent", async () => {
  const page = stage();
  const files = [new ScriptedFile(10_000, { name: "a" })];
  const uploads = page.uploadAll({ url: "ws://host/", connections: 1, hash: "none", files });
  const [socket] = page.sockets;
  socket.open();
  socket.say({ ready: true, can: ["resume"], offset: 9_000, keep: 60, chunksize: 100 });
  await until(() => socket.chunks.length > 0);
  page.clock.advance(1_000);
  const { sent, rate, secondsLeft } = uploads.progress;
  assert.deepEqual([sent, uploads.files[0].sent, rate], [9_100, 9_100, 100]);
  assert.ok(secondsLeft >= 9);
});
