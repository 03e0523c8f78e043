// Uploads that the page aborts, from outside and from inside its handlers.

import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { test } from "node:test";
import { ScriptedFile, failure, fileOf, names, quiet, serve, stage, until } from "./stage.mjs";

test("abort from inside onerror, at a fatal error: one onfailure", () => {
  const page = stage();
  let run = null;
  run = page.send(fileOf("abc"), { onerror: () => run.abort() });
  run.socket.open();
  run.socket.say({ error: "no", fatal: true });
  run.socket.drop(1000);
  assert.deepEqual(names(run.log), ["onfailure", "onclose"]);
});

test("abort before the connection is open", async () => {
  const page = stage();
  const run = page.send(fileOf("abc"));
  run.abort();
  assert.deepEqual(run.socket.closes, [1000]);
  run.socket.break();
  assert.equal(failure(run, [])[0].code, "aborted");
  await quiet();
  assert.equal(page.clock.open, 0);
});

test("abort in the middle sends nothing more", async () => {
  const run = stage().send(new ScriptedFile(100), { chunksize: 10, hash: "none" });
  run.socket.open();
  run.socket.say({ ready: true });
  await until(() => run.socket.chunks.length === 1);
  run.socket.say({ ready: true });
  run.abort();
  await quiet();
  assert.equal(run.socket.chunks.length, 1);
  run.socket.drop(1000);
  const [signal] = failure(run, ["onchunk"]);
  assert.deepEqual(signal, { error: "The upload was cancelled.", fatal: true, code: "aborted" });
});

test("abort after finished says that the file may stand", async () => {
  const run = stage().send(fileOf("abc"));
  run.socket.open();
  run.socket.say({ ready: true }, { ready: true });
  await until(() => run.socket.finished.length === 1);
  run.abort();
  run.socket.say({ close: true });
  run.socket.drop(1000);
  assert.match(failure(run, ["onchunk"])[0].error, /may have stored/);
});

test("abort after the end does nothing", async () => {
  const run = stage().send(fileOf("abc"));
  await serve(run.socket);
  run.socket.drop(1000);
  run.abort();
  assert.deepEqual(names(run.log), ["onchunk", "onsuccess", "onclose"]);
  await run.done;
});

test("abort from inside a handler", async () => {
  const page = stage();
  let run = null;
  const seen = [];
  run = page.send(new ScriptedFile(100), {
    chunksize: 10,
    hash: "none",
    onchunk: (ratio) => {
      seen.push(ratio);
      run.abort();
    },
  });
  run.socket.open();
  run.socket.say({ ready: true }, { ready: true }, { ready: true });
  await quiet();
  assert.deepEqual(seen, [0.1]);
  assert.equal(run.log[0][0], "onfailure");
});

for (const last of [false, true]) {
  test(`abort from inside onchunk ${last ? "of the last chunk" : "with more to send"}`, async () => {
    const page = stage();
    const chunksize = 2 ** 20;
    const file = new ScriptedFile(chunksize * (last ? 9 : 11));
    let sent = 0;
    let run = null;
    const onchunk = () => {
      sent += 1;
      if (sent === 9) run.abort();
    };
    run = page.send(file, { chunksize, hash: "none", onchunk });
    run.socket.fills = true;
    run.socket.open();
    for (let i = 0; i < 12; i++) run.socket.say({ ready: true });
    await quiet();
    assert.equal(sent, 8, "the rest is read and waits for the WebSocket");
    run.socket.bufferedAmount = 0;
    page.clock.advance(20);
    await quiet();
    assert.equal(run.socket.chunks.length, 9);
    assert.equal(run.socket.finished.length, 0);
    assert.deepEqual(names(run.log), ["onfailure"]);
  });
}

test("an AbortSignal cancels, before and in the middle, and is let go at the end", async () => {
  const page = stage();
  const controller = new AbortController();
  const run = page.send(fileOf("abc"), { signal: controller.signal });
  run.socket.open();
  assert.equal(getEventListeners(controller.signal, "abort").length, 1);
  const reason = new Error("changed my mind");
  controller.abort(reason);
  assert.equal(run.log[0][1][0].code, "aborted");
  await assert.rejects(run.done, { code: "aborted", cause: reason });
  const other = new AbortController();
  await serve(page.send(fileOf("abc"), { signal: other.signal }).socket);
  assert.equal(getEventListeners(other.signal, "abort").length, 0);

  const late = page.send(fileOf("abc"), { signal: controller.signal });
  assert.equal(page.sockets.length, 2, "no connection is made");
  assert.deepEqual(late.log, []);
  await quiet();
  assert.equal(failure(late, [])[0].code, "aborted");
});
