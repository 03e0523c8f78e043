// Uploads that succeed, and what the page hears of them, in order.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { bare, fileOf, names, pattern, quiet, serve, stage, until } from "./stage.mjs";

const sha1 = (bytes) => createHash("sha1").update(bytes).digest("hex");

test("success: chunks, then onsuccess without arguments, then onclose", async () => {
  const page = stage();
  const bytes = pattern(25);
  const run = page.send(fileOf(bytes, "a.txt"), { chunksize: 10 });
  await serve(run.socket);
  assert.deepEqual(run.socket.closes, [1000]);
  assert.deepEqual(names(run.log), ["onchunk", "onchunk", "onchunk", "onsuccess"]);
  run.socket.drop(1000);
  assert.deepEqual(run.log, [
    ["onchunk", 10 / 25],
    ["onchunk", 20 / 25],
    ["onchunk", 1],
    ["onsuccess"],
    ["onclose"],
  ]);
  const hash = { type: "sha1", value: sha1(bytes) };
  const [metadata, ...rest] = run.socket.sent;
  assert.deepEqual(metadata.can, ["resume"]);
  assert.deepEqual([bare(metadata), ...rest], [
    { name: "a.txt", size: 25 },
    bytes.subarray(0, 10),
    bytes.subarray(10, 20),
    bytes.subarray(20),
    { finished: true, hash },
  ]);
  const place = { outcome: "stored", name: "a.txt", path: null };
  assert.deepEqual(await run.done, { ...place, size: 25, hash, seconds: 0 });
  assert.equal(page.clock.open, 0, "timers left over");
});

test("a chunk that ends with the file is followed by finished, not by an empty chunk", async () => {
  const run = stage().send(fileOf(pattern(20)), { chunksize: 10 });
  await serve(run.socket);
  assert.deepEqual(
    run.socket.chunks.map(({ length }) => length),
    [10, 10],
  );
});

test("an empty file: one empty chunk, a ratio of 1, success", async () => {
  const run = stage().send(fileOf(""));
  await serve(run.socket);
  run.socket.drop(1000);
  assert.deepEqual(run.log, [["onchunk", 1], ["onsuccess"], ["onclose"]]);
  assert.deepEqual(run.socket.chunks, [Buffer.alloc(0)]);
  assert.equal(run.socket.finished[0].hash.value, sha1(""));
});

test("onclose does not wait for a peer that never answers the Close", async () => {
  const page = stage();
  const run = page.send(fileOf("x"));
  await serve(run.socket);
  page.clock.advance(4_999);
  assert.equal(run.log.at(-1)[0], "onsuccess");
  page.clock.advance(1);
  assert.equal(run.log.at(-1)[0], "onclose");
  run.socket.drop();
  assert.equal(run.log.length, 3);
});

test("the server's name for the file is the receipt's", async () => {
  const run = stage().send(fileOf("abc"));
  run.socket.open();
  run.socket.say({ ready: true }, { ready: true });
  await until(() => run.socket.finished.length === 1);
  run.socket.say({ close: true, name: "file (1).bin" });
  assert.equal((await run.done).name, "file (1).bin");
});

test("surplus ready signals are each answered with finished", async () => {
  const run = stage().send(fileOf("abc"));
  run.socket.open();
  run.socket.say({ ready: true }, { ready: true }, { ready: true });
  await until(() => run.socket.finished.length === 2);
  run.socket.say({ ready: true });
  await until(() => run.socket.finished.length === 3);
  run.socket.say({ close: true });
  assert.deepEqual(names(run.log), ["onchunk", "onsuccess"]);
});

test("a handler that throws is reported, and the upload goes on", async () => {
  const page = stage();
  const raise = () => {
    throw new Error("the page's own");
  };
  const all = { onchunk: raise, onerror: raise, onsuccess: raise, onclose: raise };
  const run = page.send(fileOf("abc"), all);
  run.socket.open();
  run.socket.say({ error: "soft" }, { ready: true }, { ready: true });
  await until(() => run.socket.finished.length === 1);
  run.socket.say({ close: true });
  run.socket.drop(1000);
  await run.done;
  assert.equal(page.reported.length, 4);
});

test("no handlers at all: success, and a failure that nobody looks at", async () => {
  const page = stage();
  const none = Object.fromEntries(
    ["onchunk", "onerror", "onsuccess", "onfailure", "onclose"].map((name) => [name, undefined]),
  );
  const run = page.send(fileOf("abc"), none);
  await serve(run.socket);
  await run.done;
  page.send(fileOf("abc"), none).socket.break();
  await quiet(); // an unhandled rejection would end this test
});

test("GalileoSend can be called with new, as a function of its time", async () => {
  const page = stage();
  const run = new page.GalileoSend({ url: "ws://host/", file: fileOf("abc") });
  await serve(page.sockets[0]);
  assert.equal((await run.done).size, 3);
});
