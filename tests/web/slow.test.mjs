// Lines that are slow: what was sent is silent until it has arrived.

import assert from "node:assert/strict";
import { test } from "node:test";
import { begin, first, take } from "./resuming.mjs";
import { ScriptedFile, quiet, stage, until } from "./stage.mjs";

const url = "ws://host/";
const SIZE = 8_000_000;

function start(page, options) {
  const run = page.upload({ url, file: new ScriptedFile(SIZE), hash: "none", ...options });
  run.done.catch(() => {});
  return run;
}

/** Silence for `ms` is no loss; a second more is one. */
async function assertPatience(page, run, ms) {
  const socket = page.sockets.at(-1);
  page.clock.advance(ms - 200);
  assert.deepEqual(socket.closes, []);
  page.clock.advance(1_000);
  assert.deepEqual(socket.closes, [1000]);
  run.abort();
  await quiet();
}

test("what was sent at first has the time that it takes on a slow line", async () => {
  const page = stage();
  const run = start(page);
  await begin(page.sockets[0], { bytes: 700_000 });
  await assertPatience(page, run, 35_000);
});

test("it has no more than the timeout", async () => {
  const page = stage();
  const run = start(page);
  await begin(page.sockets[0], { bytes: 7_000_000 });
  await assertPatience(page, run, 60_000);
});

test("a server that goes on to answer soon is trusted as before", async () => {
  const page = stage();
  const run = start(page);
  await begin(page.sockets[0], { bytes: 3_000_000 });
  page.clock.advance(1_200);
  await take(page.sockets[0], 3_100_000);
  await assertPatience(page, run, 10_000);
});

test("a server whose answers take long has twice as long for the next one", async () => {
  const page = stage();
  const run = start(page);
  await begin(page.sockets[0], { bytes: 700_000 });
  page.clock.advance(14_000);
  await take(page.sockets[0], 800_000);
  page.clock.advance(1_000);
  await take(page.sockets[0], 900_000);
  await assertPatience(page, run, 28_000);
});


test("without a server that can resume the timeout counts", async () => {
  const page = stage();
  const run = start(page, { timeout: 20_000 });
  const [socket] = page.sockets;
  socket.open();
  socket.say({ ...first(0, { chunksize: 3_000_000 }), can: [] });
  await until(() => socket.chunks.length > 0);
  await assertPatience(page, run, 20_000);
});
