// The modern form: promise, iterator, options.

import assert from "node:assert/strict";
import { test } from "node:test";
import { bare, ScriptedFile, fileOf, quiet, serve, stage, until } from "./stage.mjs";

test("the result is a promise of the receipt", async () => {
  const page = stage();
  const run = page.upload({ url: "/upload", file: fileOf("abc", "a.txt") });
  await serve(page.sockets[0]);
  const receipt = await run;
  assert.equal(receipt.name, "a.txt");
  assert.equal(receipt.hash.value, "a9993e364706816aba3e25717850c26c9cd0d89d");
  assert.equal(await run.done, receipt);
  let last = false;
  await run.finally(() => {
    last = true;
  });
  assert.ok(last);
});

test("a failed upload rejects with an UploadError, and looking away is allowed", async () => {
  const page = stage();
  const options = { url: "/upload", file: fileOf("abc") };
  page.upload(options);
  page.sockets[0].break();
  await quiet();
  const run = page.upload(options);
  page.sockets[1].open();
  page.sockets[1].say({ error: "full", fatal: true, code: "no_space" });
  await assert.rejects(
    run,
    (error) => error instanceof page.UploadError && error.code === "no_space",
  );
  assert.equal(await run.catch(({ reason }) => reason), "full");
});

test("onerror hears of errors that are not fatal", async () => {
  const page = stage();
  const heard = [];
  page.upload({ url: "/", file: fileOf("abc"), onerror: (signal) => heard.push(signal) });
  page.sockets[0].open();
  page.sockets[0].say({ error: "soft" });
  assert.deepEqual(heard, [{ error: "soft" }]);
});

test("progress: what has left the browser, with ratio and rate", async () => {
  const page = stage();
  const events = [];
  const run = page.upload({
    url: "/",
    file: new ScriptedFile(1_000),
    hash: "none",
    onprogress: (event) => events.push(event),
  });
  const [socket] = page.sockets;
  page.clock.advance(1_000);
  assert.deepEqual(events, [], "none before the connection");
  socket.fills = true;
  socket.open();
  socket.say({ ready: true, chunksize: 500 });
  await until(() => socket.chunks.length === 1);
  page.clock.advance(200);
  assert.deepEqual(events.at(-1), { sent: 0, size: 1_000, ratio: 0, rate: 0 });
  socket.bufferedAmount = 100;
  page.clock.advance(800);
  assert.deepEqual(events.at(-1), { sent: 400, size: 1_000, ratio: 0.4, rate: 200 });
  page.clock.advance(10_000);
  assert.equal(events.at(-1).rate, 0, "a stopped upload has no rate");
  socket.bufferedAmount = 0;
  socket.say({ ready: true }, { ready: true });
  await until(() => socket.finished.length === 1);
  socket.say({ close: true });
  await run;
  assert.deepEqual([events.at(-1).sent, events.at(-1).ratio], [1_000, 1]);
  const shown = events.map(({ sent }) => sent);
  assert.deepEqual(
    shown,
    [...shown].sort((a, b) => a - b),
    "it never goes back",
  );
});

test("the last progress of an empty file is 1", async () => {
  const page = stage();
  const ratios = [];
  const run = page.upload({ url: "/", file: fileOf(""), onprogress: (e) => ratios.push(e.ratio) });
  await serve(page.sockets[0]);
  await run;
  assert.deepEqual(ratios, [1]);
});

test("the iterator gives the latest progress and ends with the upload", async () => {
  const page = stage();
  const run = page.upload({ url: "/", file: new ScriptedFile(1_000), hash: "none" });
  const [socket] = page.sockets;
  socket.open();
  page.clock.advance(5_000); // 25 events, of which a reader that comes now sees one
  const ratios = [];
  const reading = (async () => {
    for await (const { ratio } of run) ratios.push(ratio);
  })();
  await until(() => ratios.length === 1);
  socket.say({ ready: true, chunksize: 500 });
  await until(() => socket.chunks.length === 1);
  page.clock.advance(200);
  await until(() => ratios.length === 2);
  socket.say({ ready: true }, { ready: true });
  await until(() => socket.finished.length === 1);
  socket.say({ close: true });
  await reading;
  assert.deepEqual(ratios, [0, 0.5, 1]);
});

test("the iterator throws what ended the upload", async () => {
  const page = stage();
  const run = page.upload({ url: "/", file: fileOf("abc") });
  page.sockets[0].open();
  const reading = (async () => {
    for await (const event of run) assert.ok(event);
  })();
  page.clock.advance(200);
  run.abort();
  await assert.rejects(reading, { name: "UploadError", code: "aborted" });
});

test("leaving the loop does not cancel the upload", async () => {
  const page = stage();
  const run = page.upload({ url: "/", file: fileOf("abc") });
  setImmediate(() => {
    page.sockets[0].open();
    page.clock.advance(200);
  });
  for await (const event of run) {
    assert.equal(event.ratio, 0);
    break;
  }
  page.sockets[0].say({ ready: true }, { ready: true });
  await until(() => page.sockets[0].finished.length === 1);
  page.sockets[0].say({ close: true });
  assert.equal((await run).size, 3);
});

test("name, token and ticket are in the metadata", () => {
  const page = stage();
  const said = (options) => {
    page.upload({ url: "/", file: new Blob(["abc"]), name: "Отчёт 🚀.txt", ...options });
    page.sockets.at(-1).open();
    return page.sockets.at(-1).sent[0];
  };
  assert.deepEqual(bare(said({})), { name: "Отчёт 🚀.txt", size: 3 });
  assert.equal(said({ token: "secret" }).token, "secret");
  assert.equal(said({ ticket: "a.b.c" }).token, "a.b.c");
});

for (const [given, made] of [
  ["/upload", "wss://page.example/upload"],
  ["up?x=1#part", "wss://page.example/dir/up?x=1"],
  ["http://host:8750/", "ws://host:8750/"],
  [new URL("https://host/u"), "wss://host/u"],
  ["ws://host/", "ws://host/"],
  ["//host/", "wss://host/"],
]) {
  test(`the URL ${given} becomes ${made}`, () => {
    const page = stage();
    page.upload({ url: given, file: fileOf("abc") });
    assert.equal(page.sockets[0].url, made);
  });
}
