// Connections that may be lost without a sign: after sleep, after another network, in hidden tabs.

import assert from "node:assert/strict";
import { test } from "node:test";
import { begin, complete, first, next } from "./resuming.mjs";
import { ScriptedFile, assertOver, fileOf, pattern, quiet, stage, until } from "./stage.mjs";

const url = "ws://host/";
const SIZE = 300_000;
const start = (page, options) => {
  const run = page.upload({ url, file: new ScriptedFile(SIZE), hash: "none", ...options });
  run.done.catch(() => {});
  return run;
};

const WAYS = {
  "the network came back": (page) => page.online(),
  "the machine slept": (page) => page.clock.jump(3_600_000),
};

for (const [way, happen] of Object.entries(WAYS)) {
  test(`${way}: a server that can resume has 3 s to show itself`, async () => {
    const page = stage({ random: 1 });
    const run = start(page);
    const [socket] = page.sockets;
    await begin(socket, { bytes: 100_000 });
    happen(page);
    page.clock.advance(2_900);
    assert.deepEqual(socket.closes, []);
    page.clock.advance(600);
    assert.deepEqual(socket.closes, [1000]);
    await complete(await next(page), SIZE, 100_000);
    page.sockets[1].say({ close: true });
    await run;
    assertOver(page);
  });

  test(`${way}: a server that shows itself is trusted as before`, async () => {
    const page = stage();
    const run = start(page);
    const [socket] = page.sockets;
    await begin(socket, { bytes: 100_000 });
    happen(page);
    page.clock.advance(1_000);
    socket.say({ hello: 1 });
    page.clock.advance(9_500);
    assert.deepEqual(socket.closes, []);
    run.abort();
  });

  test(`${way}: what cannot be resumed has as much time as ever`, async () => {
    const page = stage();
    const run = start(page);
    const [socket] = page.sockets;
    socket.open();
    socket.say({ ready: true }, { ready: true }, { ready: true });
    await until(() => socket.finished.length === 1);
    happen(page);
    page.clock.advance(59_000);
    assert.deepEqual(socket.closes, [], "it may be verifying");
    socket.say({ close: true });
    await run;
    assertOver(page);
  });

  test(`${way}: a server that verifies a large file has the time for it`, async () => {
    const page = stage();
    const size = 400_000_000; // 20 s
    const run = start(page, { file: new ScriptedFile(size) });
    const [socket] = page.sockets;
    socket.open();
    socket.say(first(size));
    await until(() => socket.finished.length === 1);
    happen(page);
    page.clock.advance(22_500);
    assert.deepEqual(socket.closes, []);
    page.clock.advance(1_500);
    assert.deepEqual(socket.closes, [1000]);
    run.abort();
  });

  test(`${way}: a slow disk has the time that it had before`, async () => {
    const page = stage();
    const file = new ScriptedFile(SIZE, { held: true });
    const run = start(page, { file });
    const [socket] = page.sockets;
    socket.open();
    socket.say(first(0, { chunksize: 100_000 }));
    await until(() => file.reads.length > 0);
    happen(page);
    page.clock.advance(59_000);
    assert.deepEqual(socket.closes, []);
    file.reads[0].give();
    await quiet();
    assert.equal(socket.chunks.length, 1);
    run.abort();
  });
}

test("a connection that was being made when the network came back has 3 s more", async () => {
  const page = stage();
  const run = start(page);
  page.clock.advance(5_000);
  page.online();
  page.clock.advance(2_900);
  assert.deepEqual(page.sockets[0].closes, []);
  page.clock.advance(600);
  assert.deepEqual(page.sockets[0].closes, [1000]);
  run.abort();
  await quiet();
});

test("in a hidden tab, whose timers run once a minute, a dead connection is noticed too", async () => {
  const page = stage();
  const run = start(page);
  const [socket] = page.sockets;
  await begin(socket, { bytes: 100_000 });
  for (let minute = 0; minute < 4; minute++) page.clock.jump(60_000);
  assert.deepEqual(socket.closes, [1000]);
  run.abort();
  await quiet();
});

test("in a hidden tab a server that says something each minute is not given up", async () => {
  const page = stage();
  const run = start(page);
  const [socket] = page.sockets;
  await begin(socket, { bytes: 100_000 });
  for (let minute = 0; minute < 20; minute++) {
    page.clock.jump(60_000);
    socket.say({ hello: minute });
  }
  assert.deepEqual(socket.closes, []);
  run.abort();
});

test("a silent server that can resume is given up after 10 s, one that cannot after the timeout", async () => {
  for (const isNew of [true, false]) {
    const page = stage();
    const run = start(page);
    const [socket] = page.sockets;
    socket.open();
    socket.say(isNew ? first(0, { chunksize: 10 }) : { ready: true, chunksize: 10 });
    await until(() => socket.chunks.length > 0);
    page.clock.advance(isNew ? 9_900 : 59_900);
    assert.deepEqual(socket.closes, []);
    page.clock.advance(600);
    assert.deepEqual(socket.closes, [1000]);
    run.abort();
    await quiet();
  }
});

test("a timeout below 10 s is the patience", async () => {
  const page = stage();
  const run = start(page, { timeout: 4_000 });
  page.clock.advance(3_900);
  assert.deepEqual(page.sockets[0].closes, []);
  page.clock.advance(600);
  assert.deepEqual(page.sockets[0].closes, [1000]);
  run.abort();
  await quiet();
});

test("a server that is slow to its first signals is given twice as long each time", async () => {
  const page = stage();
  const run = start(page, { file: fileOf(pattern(SIZE)) });
  await begin(page.sockets[0], { bytes: 100_000 });
  page.clock.advance(10_400);
  for (const ms of [20_000, 40_000, 60_000]) {
    const socket = await next(page);
    await begin(socket, { offset: 100_000, bytes: 10 });
    page.clock.advance(ms - 100);
    assert.deepEqual(socket.closes, [], String(ms));
    page.clock.advance(500);
    assert.deepEqual(socket.closes, [1000], String(ms));
  }
  run.abort();
  await quiet();
});
