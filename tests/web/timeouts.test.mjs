// Uploads that fail since nothing happens, and those that are only slow.

import assert from "node:assert/strict";
import { test } from "node:test";
import { ScriptedFile, fileOf, names, quiet, stage, until } from "./stage.mjs";

test("a server that never answers the connection is given up", async () => {
  const page = stage();
  const run = page.send(fileOf("abc"));
  await quiet();
  page.clock.advance(59_900);
  assert.deepEqual(run.log, []);
  page.clock.advance(500);
  assert.equal(run.log[0][0], "onfailure");
  assert.equal(run.log[0][1][0].code, "timeout");
  assert.match(run.log[0][1][0].error, /has not answered for 60 s/);
});

for (const [where, before] of [
  ["after the metadata", 0],
  ["after a chunk", 1],
  ["after finished", 2],
]) {
  test(`a server that falls silent ${where} is given up`, async () => {
    const page = stage();
    const run = page.send(new ScriptedFile(3), { timeout: 5_000 });
    run.socket.open();
    for (let i = 0; i < before; i++) run.socket.say({ ready: true });
    await until(() => run.socket.sent.length === 1 + before);
    page.clock.advance(4_900);
    assert.equal(run.log.length, before > 0 ? 1 : 0);
    page.clock.advance(500);
    assert.equal(run.log.at(-1)[0], "onfailure");
    assert.match(run.log.at(-1)[1][0].error, /silent for 5 s/);
    page.clock.advance(5_000);
    assert.equal(run.log.at(-1)[0], "onclose");
    assert.equal(page.clock.open, 0);
  });
}

test("every signal puts the timeout off, unknown ones too", async () => {
  const page = stage();
  const run = page.send(new ScriptedFile(3), { timeout: 5_000 });
  run.socket.open();
  for (let i = 0; i < 10; i++) {
    page.clock.advance(4_000);
    run.socket.say({ patience: i });
  }
  assert.deepEqual(run.log, []);
});

test("a slow path is no silence, a stopped one is", async () => {
  const page = stage();
  const run = page.send(new ScriptedFile(100_000), { timeout: 5_000, hash: "none" });
  run.socket.fills = true;
  run.socket.open();
  run.socket.say({ ready: true });
  await until(() => run.socket.chunks.length === 1);
  for (let i = 0; i < 20; i++) {
    page.clock.advance(4_000);
    run.socket.bufferedAmount -= 4_000;
  }
  assert.deepEqual(names(run.log), ["onchunk"]);
  page.clock.advance(6_000);
  assert.match(run.log.at(-1)[1][0].error, /No data could be sent for 5 s/);
});

test("a page that was frozen first looks at what came meanwhile", async () => {
  const page = stage();
  const run = page.send(new ScriptedFile(3), { timeout: 5_000 });
  run.socket.open();
  page.clock.jump(3_600_000);
  assert.deepEqual(run.log, []);
  run.socket.say({ ready: true });
  page.clock.advance(1_000);
  await until(() => run.socket.chunks.length === 1);
  assert.deepEqual(run.log, [["onchunk", 1]]);
});

test("a read that never ends is given up", async () => {
  const page = stage();
  const run = page.send(new ScriptedFile(3, { held: true }), { timeout: 5_000, hash: "none" });
  run.socket.open();
  run.socket.say({ ready: true });
  await quiet();
  page.clock.advance(6_000);
  assert.match(run.log[0][1][0].error, /No data could be read from "file.bin" for 5 s/);
});
