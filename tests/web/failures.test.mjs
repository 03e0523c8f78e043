// Uploads that fail by a signal, the connection or the file, and what the page hears, in order.

import assert from "node:assert/strict";
import { test } from "node:test";
import { ScriptedFile, failure, fileOf, pattern, quiet, stage, until } from "./stage.mjs";

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

test("close after the last byte and before finished is a failure", async () => {
  const run = stage().send(fileOf("abc"));
  run.socket.open();
  run.socket.say({ ready: true });
  await until(() => run.socket.chunks.length === 1);
  run.socket.say({ close: true });
  run.socket.drop(1000);
  assert.deepEqual(
    failure(run, ["onchunk"]).map(({ code }) => code),
    ["closed_early"],
  );
});

test("a fatal error that also has close is a failure", async () => {
  const run = stage().send(fileOf("abc"));
  run.socket.open();
  run.socket.say({ ready: true }, { ready: true });
  await until(() => run.socket.finished.length === 1);
  const signal = { error: "Full", fatal: true, close: true };
  run.socket.say(signal);
  run.socket.drop(1000);
  assert.deepEqual(failure(run, ["onchunk", "onerror"]), [signal]);
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
