// Many files whose connections are lost: which is sent again, in which way, and what of the others.

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  BOTH,
  CAN,
  agree,
  begin,
  complete,
  fault,
  files,
  next,
  none,
  states,
} from "./resuming.mjs";
import { assertOver, fileOf, pattern, quiet, stage, until } from "./stage.mjs";

const url = "ws://host/";
const SIZE = 300_000;

const metadata = ({ sent }) => sent.filter(({ name }) => name);
const names = (socket) => metadata(socket).map(({ name }) => name);
const keys = (socket) =>
  Object.fromEntries(metadata(socket).map(({ name, upload }) => [name, upload]));
const start = (page, options) => page.uploadAll({ url, connections: 1, hash: "none", ...options });

test("small files that had no answer are sent whole again, by their keys", async () => {
  const page = stage();
  const uploads = start(page, { files: files(10, 20, 30, 40) });
  const [before] = page.sockets;
  await agree(before);
  assert.equal(before.finished.length, 4);
  before.say({ close: true, file: 2 });
  before.drop();
  const socket = await next(page);
  socket.open();
  socket.say({ close: true, can: BOTH.can, next: 100, whole: 1_000, room: 10_000, name: "stored" });
  await until(() => socket.finished.length === 1);
  assert.deepEqual(names(socket).sort(), ["f1", "f3"]);
  for (const [name, key] of Object.entries(keys(socket))) assert.equal(key, keys(before)[name]);
  socket.say({ close: true, file: 1 });
  await uploads.done;
  assert.equal(states(uploads), "stored stored stored stored");
  assert.ok(uploads.files.every(({ mayBeStored }) => !mayBeStored));
  assertOver(page);
});

test("a large file behind others goes on at its offset on the next connection", async () => {
  const page = stage();
  const uploads = start(page, { files: files(10, SIZE) });
  await agree(page.sockets[0]);
  page.sockets[0].say({ ready: true, file: 1, offset: 0, keep: 1, chunksize: 100_000 });
  await quiet();
  page.clock.advance(200);
  page.sockets[0].drop();
  await quiet();
  assert.equal(states(uploads), "stored interrupted");
  const { sent, rate } = uploads.files[1];
  assert.deepEqual([sent, rate, uploads.progress.secondsLeft], [100_000, 0, null]);
  await complete(await next(page), SIZE, 70_000);
  page.clock.advance(200);
  assert.equal(uploads.progress.sent, SIZE + 10);
  page.sockets[1].say({ close: true });
  await uploads.done;
  assertOver(page);
});

test("a file that is refused for now is tried again later, and the others are sent", async () => {
  const page = stage({ random: 1 });
  const uploads = start(page, { files: files(10, 20, SIZE, 30) });
  const [socket] = page.sockets;
  await agree(socket);
  socket.say(fault("busy", { file: 1, next: true }));
  await quiet();
  assert.equal(states(uploads), "stored waiting sending waiting");
  socket.say({ ready: true, file: 2, offset: 0, keep: 1, chunksize: SIZE });
  await quiet();
  socket.say({ close: true, file: 2 });
  await quiet();
  assert.deepEqual(socket.closes, [1000], "nothing more is sent to a busy server");
  assert.equal(uploads.outage.error.code, "busy");
  page.clock.advance(490);
  assert.equal(page.sockets.length, 1);
  await agree(await next(page));
  assert.deepEqual(names(page.sockets[1]).sort(), ["f1", "f3"]);
  page.sockets[1].say({ close: true, file: 1 });
  await uploads.done;
  assert.equal(states(uploads), "stored stored stored stored");
  assertOver(page);
});

test("a file that is refused for now goes to another connection that is open", async () => {
  const page = stage();
  const uploads = start(page, { connections: 2, files: files(SIZE, SIZE, 10) });
  const [one, two] = page.sockets;
  await begin(one, { bytes: 100_000 });
  await begin(two, { bytes: 100_000 });
  one.say(fault("too_slow", { kept: 60 }));
  await quiet();
  assert.deepEqual(two.closes, []);
  const three = await next(page);
  await complete(three, SIZE, 100_000);
  three.say({ close: true });
  await complete(two, SIZE - 100_000).catch(() => {});
  two.say({ close: true });
  await quiet();
  await complete(page.sockets[3], 10);
  page.sockets[3].say({ close: true });
  await uploads.done;
  assertOver(page);
});

test("a file that cuts each connection fails alone", async () => {
  const page = stage();
  const uploads = start(page, { files: files(10, 20, 30, 40, 50), retries: Infinity });
  const poison = "f2";
  let rounds = 0;
  for (let socket = page.sockets[0]; uploads.active; rounds++) {
    assert.ok(rounds < 60, states(uploads));
    socket.open();
    const isPoison = () => names(socket).includes(poison);
    if (names(socket)[0] !== poison) {
      socket.say({ ready: true, ...BOTH, offset: 0 });
      await until(() => socket.chunks.length > 0);
      socket.say({ ready: true });
      await until(() => socket.finished.length > 0);
      socket.say({ close: true });
      await quiet();
      // The files before the poison are stored, it cuts the connection, those behind have no answer.
      const place = names(socket).indexOf(poison);
      const end = isPoison() ? place : names(socket).length;
      for (let file = 1; file < end; file++) socket.say({ close: true, file });
    }
    if (isPoison()) socket.drop();
    await quiet();
    if (uploads.active) socket = await next(page);
  }
  assert.equal(states(uploads), "stored stored failed stored stored");
  await none(page);
  assertOver(page);
});

test("all files fail once the server is given up, those that wait too", async () => {
  const page = stage();
  const told = [];
  const onretry = ({ attempt }) => told.push(attempt);
  const uploads = start(page, { connections: 3, files: files(1, 2, 3, 4, 5), onretry });
  for (let attempt = 0; attempt < 4; attempt++) {
    const open = page.sockets.filter(({ closes, readyState }) => !closes.length && readyState < 3);
    for (const socket of open) socket.break();
    await quiet();
    const { outage } = uploads;
    if (attempt < 3) assert.deepEqual([outage.attempt, outage.at > page.clock.now], [attempt + 1, true]);
    if (attempt < 3) await next(page);
    if (attempt < 3) assert.equal(uploads.outage.at, null, "it is being tried");
  }
  const results = await uploads.done;
  assert.deepEqual(results.map(({ code }) => code), Array(5).fill("connection_failed"));
  assert.deepEqual([told, uploads.outage, page.sockets.length], [[1, 2, 3], null, 6]);
  await none(page);
  assertOver(page);
});

test("with the network back the files go on at once", async () => {
  const page = stage();
  const uploads = start(page, { files: files(SIZE) });
  await begin(page.sockets[0], { bytes: 100_000 });
  page.sockets[0].drop();
  await quiet();
  for (let attempt = 0; attempt < 4; attempt++) (await next(page)).break();
  await quiet();
  const count = page.sockets.length;
  page.online();
  assert.equal(page.sockets.length, count + 1);
  await complete(page.sockets.at(-1), SIZE, 100_000);
  page.sockets.at(-1).say({ close: true });
  await uploads.done;
  assertOver(page);
});

test("the reader of a file that is paused ends, and its states save hashing", async () => {
  const page = stage({ worker: "runs" });
  const bytes = pattern(20 * 2 ** 20);
  const uploads = start(page, { files: [fileOf(bytes)], hash: "sha1" });
  await begin(page.sockets[0], { bytes: 18 * 2 ** 20 });
  uploads.pause();
  await until(() => page.workers[0].ended);
  uploads.resume();
  const socket = page.sockets[1];
  socket.open();
  socket.say({ ready: true, ...CAN, offset: 17 * 2 ** 20, chunksize: 10 });
  await until(() => socket.chunks.length > 0);
  const [{ states: given }] = page.workers[1].received;
  assert.ok(given.length > 0 && given.every(({ at }) => at >= 16 * 2 ** 20));
  uploads.abort();
  socket.say(fault("abandoned"));
  await uploads.done;
  await quiet();
  assertOver(page);
});

test("hundreds of files over a line that is cut again and again leave nothing behind", async () => {
  const page = stage();
  const sizes = Array.from({ length: 600 }, (_, index) => 1 + (index % 50));
  const uploads = start(page, { files: files(...sizes), retries: 3 });
  let stored = 0;
  for (let socket = page.sockets[0]; uploads.active; ) {
    await agree(socket);
    stored += 1;
    for (let file = 1; file <= 60 && file < names(socket).length; file++) {
      socket.say({ close: true, file });
      stored += 1;
      if (file % 20 === 0) await quiet();
    }
    if (uploads.active) socket.drop();
    if (uploads.active) socket = await next(page);
  }
  assert.equal(stored, 600);
  assert.ok(uploads.files.every(({ state }) => state === "stored"));
  await quiet();
  assertOver(page);
});
