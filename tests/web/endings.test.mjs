// Every way in which an upload can end, and what the page hears of it, in order.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { getEventListeners } from "node:events";
import { test } from "node:test";
import { ScriptedFile, fileOf, pattern, quiet, serve, stage, until } from "./stage.mjs";

const sha1 = (bytes) => createHash("sha1").update(bytes).digest("hex");
const names = (log) => log.map(([name]) => name);

/** The end of a failed upload: the signals given to onfailure, once, followed by onclose. */
function failure(run, earlier) {
  assert.deepEqual(names(run.log), [...earlier, "onfailure", "onclose"]);
  const signals = run.log.at(-2)[1];
  assert.ok(Array.isArray(signals) && signals.length > 0);
  for (const { error } of signals) assert.equal(typeof error, "string");
  return signals;
}

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
  assert.deepEqual(run.socket.sent, [
    { name: "a.txt", size: 25 },
    bytes.subarray(0, 10),
    bytes.subarray(10, 20),
    bytes.subarray(20),
    { finished: true, hash },
  ]);
  assert.deepEqual(await run.done, { name: "a.txt", size: 25, hash, seconds: 0 });
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

for (const hash of ["sha1", "none"]) {
  test(`a file that is gone is no empty file: hash ${hash}`, async () => {
    const gone = fileOf("");
    gone.arrayBuffer = () => Promise.reject(new DOMException("gone", "NotFoundError"));
    const run = stage().send(gone, { hash });
    run.socket.open();
    run.socket.say({ ready: true });
    await until(() => run.log.length > 0);
    assert.equal(run.log[0][0], "onfailure");
    assert.equal(run.log[0][1][0].code, "file_unreadable");
    assert.deepEqual(run.socket.chunks, []);
  });
}

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

test("a fatal error: onerror, onfailure with that signal, and we close", async () => {
  const run = stage().send(fileOf("x"));
  run.socket.open();
  const signal = { error: "No room", fatal: true, code: "no_space", limit: 3 };
  run.socket.say(signal);
  run.socket.drop(1000);
  assert.deepEqual(run.log, [["onerror", signal], ["onfailure", [signal]], ["onclose"]]);
  assert.deepEqual(run.socket.closes, [1000]);
  await assert.rejects(run.done, {
    name: "UploadError",
    message: "No room",
    reason: "No room",
    code: "no_space",
    signals: [signal],
  });
});

test("errors that are not fatal are told, and the upload goes on", async () => {
  const run = stage().send(fileOf("abc"));
  run.socket.open();
  run.socket.say({ error: 1 }, { error: { odd: true } }, { ready: 1 });
  await until(() => run.socket.chunks.length === 1);
  run.socket.say({ error: "late", fatal: false }, { ready: 1 });
  await until(() => run.socket.finished.length === 1);
  run.socket.say({ close: 1 });
  run.socket.drop(1000);
  assert.deepEqual(run.log, [
    ["onerror", { error: 1 }],
    ["onerror", { error: { odd: true } }],
    ["onchunk", 1],
    ["onerror", { error: "late", fatal: false }],
    ["onsuccess"],
    ["onclose"],
  ]);
});

test("onfailure has every error in order, those that were not fatal too", async () => {
  const run = stage().send(fileOf("abc"));
  run.socket.open();
  const signals = [{ error: "one" }, { error: { two: 2 }, fatal: 1 }];
  run.socket.say(...signals);
  assert.deepEqual(run.log.at(-1), ["onfailure", signals]);
  await assert.rejects(run.done, { reason: '{"two":2}', code: "error" });
});

test("at most a hundred errors are kept, and the fatal one always", () => {
  const run = stage().send(fileOf("abc"));
  run.socket.open();
  for (let i = 0; i < 500; i++) run.socket.say({ error: `error ${i}` });
  run.socket.say({ error: "enough", fatal: true });
  const [, signals] = run.log.at(-1);
  assert.equal(run.log.length, 502);
  assert.equal(signals.length, 101);
  assert.equal(signals.at(-1).error, "enough");
});

test("abort from inside onerror, at a fatal error: one onfailure", () => {
  const page = stage();
  let run = null;
  run = page.send(fileOf("abc"), { onerror: () => run.abort() });
  run.socket.open();
  run.socket.say({ error: "no", fatal: true });
  run.socket.drop(1000);
  assert.deepEqual(names(run.log), ["onfailure", "onclose"]);
});

test("close before everything was sent is a failure", async () => {
  const run = stage().send(fileOf(pattern(20)), { chunksize: 10 });
  run.socket.open();
  run.socket.say({ ready: true });
  await until(() => run.socket.chunks.length === 1);
  run.socket.say({ close: true });
  run.socket.drop(1000);
  assert.deepEqual(
    failure(run, ["onchunk"]).map(({ code }) => code),
    ["closed_early"],
  );
  assert.deepEqual(run.socket.closes, [1000]);
});

test("close after the last byte and before finished is a success without a hash", async () => {
  // So the original client sees it, and some server may count bytes and be content.
  const run = stage().send(fileOf("abc"));
  run.socket.open();
  run.socket.say({ ready: true });
  await until(() => run.socket.chunks.length === 1);
  run.socket.say({ close: true });
  assert.equal((await run.done).hash, null);
});

test("the server's name for the file is the receipt's", async () => {
  const run = stage().send(fileOf("abc"));
  run.socket.open();
  run.socket.say({ ready: true });
  await until(() => run.socket.chunks.length === 1);
  run.socket.say({ close: true, name: "file (1).bin" });
  assert.equal((await run.done).name, "file (1).bin");
});

test("a connection that ends without close is a failure, even after finished", async () => {
  const run = stage().send(fileOf("abc"));
  run.socket.open();
  run.socket.say({ error: "slow disk" }, { ready: true }, { ready: true });
  await until(() => run.socket.finished.length === 1);
  run.socket.drop(1011, "restarting");
  const signals = failure(run, ["onerror", "onchunk"]);
  assert.deepEqual(
    signals.map(({ code }) => code),
    [undefined, "connection_lost"],
  );
  assert.match(signals[1].error, /1011, restarting/);
});

test("a connection that breaks is a failure, told once", async () => {
  const run = stage().send(fileOf("abc"));
  run.socket.open();
  run.socket.break();
  const [signal] = failure(run, []);
  assert.deepEqual([signal.code, signal.fatal], ["connection_lost", true]);
});

test("a server that cannot be reached is a failure", async () => {
  const run = stage().send(fileOf("abc"));
  run.socket.break();
  const [signal] = failure(run, []);
  assert.equal(signal.code, "connection_failed");
  assert.match(signal.error, /ws:\/\/host\//);
});

test("a URL that is none ends in onfailure, after GalileoSend has returned", async () => {
  const run = stage().send(fileOf("abc"), { url: "mailto:a@b" });
  assert.deepEqual(run.log, []);
  await quiet();
  assert.equal(failure(run, [])[0].code, "connection_failed");
});

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

test("a file that cannot be read is a failure with a reason", async () => {
  const file = new ScriptedFile(100, { held: true });
  const run = stage().send(file, { chunksize: 10 });
  run.socket.open();
  run.socket.say({ ready: true }, { ready: true });
  await until(() => file.reads.length === 2);
  file.reads[0].give();
  await until(() => run.socket.chunks.length === 1);
  file.reads[1].refuse(new DOMException("gone", "NotReadableError"));
  await until(() => run.log.length === 2);
  run.socket.drop(1000);
  const [signal] = failure(run, ["onchunk"]);
  assert.equal(signal.code, "file_unreadable");
  assert.match(signal.error, /"file.bin" cannot be read.*NotReadableError/);
  assert.deepEqual(run.socket.closes, [1000]);
});

test("a file that got shorter is a failure, and nothing false is sent", async () => {
  const file = new ScriptedFile(10, { held: true });
  const run = stage().send(file);
  run.socket.open();
  run.socket.say({ ready: true });
  await until(() => file.reads.length === 1);
  file.reads[0].give(4);
  await until(() => run.log.length > 0);
  assert.equal(run.log[0][1][0].code, "file_changed");
  assert.equal(run.socket.chunks.length, 0);
});

for (const nonsense of ["{", "", "null", "7", '"ready"', "[1]", new ArrayBuffer(2)]) {
  test(`what is no signal ends the upload: ${JSON.stringify(nonsense)}`, async () => {
    const run = stage().send(fileOf("abc"));
    run.socket.open();
    run.socket.raw(nonsense);
    run.socket.drop(1000);
    assert.equal(failure(run, [])[0].code, "bad_message");
  });
}

test("unknown signals, unknown keys and falsy ones are ignored", async () => {
  const run = stage().send(fileOf("abc"));
  run.socket.open();
  run.socket.say({}, { hello: 1 }, { ready: false }, { ready: 0 }, { error: "" }, { close: false });
  await quiet();
  assert.equal(run.socket.sent.length, 1);
  run.socket.say({ ready: true, colour: "blue" });
  await until(() => run.socket.chunks.length === 1);
  assert.deepEqual(run.log, [["onchunk", 1]]);
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

test("mistakes in the page are exceptions", () => {
  const page = stage();
  const file = fileOf("abc");
  const url = "ws://host/";
  assert.throws(() => page.GalileoSend({ url }), TypeError);
  assert.throws(() => page.GalileoSend({ url, file: "abc" }), TypeError);
  assert.throws(() => page.GalileoSend({ url, file: new Blob(["abc"]) }), TypeError);
  assert.throws(() => page.upload({ url, file, hash: "md5" }), TypeError);
  assert.throws(() => page.upload({ url, file, hash: "toString" }), TypeError);
  assert.equal(page.sockets.length, 0);
});
