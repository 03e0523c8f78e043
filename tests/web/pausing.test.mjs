// Uploads that the page pauses, holds, cancels while they wait, and clears.

import assert from "node:assert/strict";
import { test } from "node:test";
import { CAN, begin, complete, fault, first, next, none } from "./resuming.mjs";
import { ScriptedFile, assertOver, bare, fileOf, pattern, quiet, stage, until } from "./stage.mjs";

const url = "ws://host/";
const SIZE = 300_000;
const BYTES = pattern(SIZE);
const BOTH = { ...CAN, can: ["resume", "next"], next: 100, whole: 1_000, room: 10_000 };

const files = (...sizes) =>
  sizes.map((size, index) => new ScriptedFile(size, { name: `f${index}` }));
const states = ({ files }) => files.map(({ state }) => state).join(" ");
const metadata = ({ sent }) => sent.filter(({ name }) => name).map(({ name }) => name);
const keyOf = ({ sent }, file) => sent.find(({ name }) => name === file).upload;
const start = (page, options) => page.uploadAll({ url, connections: 1, hash: "none", ...options });

/** Agree on both extensions with the metadata of file 0, and store it. */
async function agree(socket, more) {
  socket.open();
  socket.say({ ready: true, ...BOTH, offset: 0, ...more });
  await until(() => socket.chunks.length > 0 || socket.finished.length > 0);
  socket.say({ ready: true });
  await until(() => socket.finished.length > 0);
  socket.say({ close: true });
  await quiet();
}

/** What a connection that abandons an upload sends. */
function abandoned(socket, { name, size }, key) {
  socket.open();
  const [sent, ...rest] = socket.sent;
  assert.deepEqual(rest, []);
  assert.deepEqual(sent.can, ["resume"]);
  assert.equal(sent.upload, key);
  assert.deepEqual(bare(sent), { name, size, abandon: true });
  socket.say(fault("abandoned", { can: ["resume"] }));
  assert.ok(socket.closes.length > 0);
}

for (const worker of [null, "runs"]) {
  test(`paused in the middle, and resumed where the server is; Worker: ${worker}`, async () => {
    const page = stage({ worker });
    const run = page.upload({ url, file: fileOf(BYTES), chunksize: 100_000 });
    await begin(page.sockets[0], { bytes: 200_000 });
    run.pause();
    run.pause();
    assert.deepEqual(page.sockets[0].closes, [1000]);
    assert.deepEqual(page.sockets[0].sent.filter(({ abandon }) => abandon), []);
    await none(page);
    assertOver(page);
    run.resume();
    run.resume();
    await complete(page.sockets[1], SIZE, 150_000);
    page.sockets[1].say({ close: true });
    assert.equal((await run).size, SIZE);
    assert.equal(page.sockets.length, 2);
    assertOver(page);
  });
}

for (const [when, prepare] of [
  ["while the connection is made", () => {}],
  ["after the metadata", (socket) => socket.open()],
]) {
  test(`paused ${when}`, async () => {
    const page = stage();
    const run = page.upload({ url, file: fileOf(BYTES) });
    prepare(page.sockets[0]);
    run.pause();
    assert.deepEqual(page.sockets[0].closes, [1000]);
    await none(page);
    assertOver(page);
    run.resume();
    await complete(page.sockets[1], SIZE);
    page.sockets[1].say({ close: true });
    await run;
    assertOver(page);
  });
}

test("paused and resumed at once, in whatever state", async () => {
  for (const prepare of [
    () => {},
    (socket) => socket.open(),
    (socket) => begin(socket, { bytes: 100_000 }),
    (socket) => complete(socket, SIZE),
    (socket) => socket.drop(),
  ]) {
    const page = stage();
    const run = page.upload({ url, file: fileOf(BYTES) });
    await prepare(page.sockets[0]);
    await quiet();
    for (let count = 0; count < 3; count++) {
      run.pause();
      run.resume();
    }
    const open = page.sockets.filter(({ closes, readyState }) => !closes.length && readyState < 3);
    assert.ok(open.length <= 1);
    await quiet();
    const socket = open[0] ?? (await next(page));
    if (socket.finished.length === 0) await complete(socket, SIZE);
    socket.say({ close: true });
    await run;
    assertOver(page);
  }
});

test("an upload that is sent to its last byte is not paused", async () => {
  const page = stage();
  const uploads = start(page, { files: files(10) });
  await complete(page.sockets[0], 10);
  uploads.pause();
  assert.equal(states(uploads), "sending");
  page.sockets[0].say({ close: true });
  await uploads.done;
  assertOver(page);
});

test("paused while the server is away: no attempt is made, and nothing is left over", async () => {
  const page = stage();
  const run = page.upload({ url, file: fileOf(BYTES) });
  await begin(page.sockets[0], { bytes: 100_000 });
  page.sockets[0].drop();
  await quiet();
  run.pause();
  await none(page);
  assertOver(page);
  run.resume();
  await complete(page.sockets[1], SIZE, 100_000);
  page.sockets[1].say({ close: true });
  await run;
});

test("a page may cancel while its upload waits, is paused, or is on its way to a connection", async () => {
  for (const [when, prepare] of [
    ["interrupted", (page) => page.sockets[0].drop()],
    ["paused", (page, run) => run.pause()],
    ["paused and interrupted", (page, run) => {
      page.sockets[0].drop();
      run.pause();
    }],
    ["connecting", async (page) => {
      page.sockets[0].drop();
      await next(page);
    }],
    ["unheard", async (page) => {
      page.sockets[0].drop();
      (await next(page)).open();
    }],
  ]) {
    const page = stage();
    const file = fileOf(BYTES, "a.bin");
    const run = page.upload({ url, file });
    await begin(page.sockets[0], { bytes: 100_000 });
    await prepare(page, run);
    await quiet();
    const before = page.sockets.length;
    run.abort();
    await assert.rejects(run.done, { code: "aborted" }, when);
    await quiet();
    assert.equal(page.sockets.length, before + 1, `abandoned: ${when}`);
    abandoned(page.sockets.at(-1), file, page.sockets[0].sent[0].upload);
    await none(page);
    assertOver(page);
  }
});

test("an upload that is cancelled by its signal while it waits is abandoned too", async () => {
  const page = stage();
  const controller = new AbortController();
  const file = fileOf(BYTES);
  const run = page.upload({ url, file, signal: controller.signal });
  await begin(page.sockets[0], { bytes: 100_000 });
  page.sockets[0].drop();
  await quiet();
  controller.abort();
  await assert.rejects(run.done, { code: "aborted" });
  abandoned(page.sockets[1], file, page.sockets[0].sent[0].upload);
  await none(page);
  assertOver(page);
});

test("a server that cannot be told of it now is told later, and left alone after ten attempts", async () => {
  for (const attempt of [2, 10, Infinity]) {
    const page = stage();
    const file = fileOf(BYTES, "a.bin");
    const run = page.upload({ url, file });
    await begin(page.sockets[0], { bytes: 100_000 });
    page.sockets[0].drop();
    await quiet();
    run.abort();
    await run.done.catch(() => {});
    page.clock.advance(9_900);
    assert.deepEqual(page.sockets[1].closes, []);
    page.clock.advance(200);
    assert.equal(page.sockets[1].closes.length, 1, "silent for 10 s");
    for (let count = 2; count <= Math.min(attempt, 10); count++) {
      for (let ms = 0; ms < 16_000 && page.sockets.length === count; ms += 500) {
        page.clock.advance(500);
        await quiet();
      }
      const socket = page.sockets[count];
      if (count < attempt) socket.break();
      else abandoned(socket, file, page.sockets[0].sent[0].upload);
    }
    await none(page);
    assertOver(page);
  }
});

test("what no server has is not abandoned", async () => {
  const page = stage();
  const run = page.upload({ url, file: fileOf(BYTES) });
  page.sockets[0].break();
  await quiet();
  run.abort();
  await run.done.catch(() => {});
  await none(page);
  assertOver(page);
});

test("cancelled in the middle: the server is told on the connection", async () => {
  const page = stage();
  const run = page.upload({ url, file: fileOf(BYTES) });
  await begin(page.sockets[0], { bytes: 100_000 });
  run.abort();
  await run.done.catch(() => {});
  assert.deepEqual(page.sockets[0].sent.at(-1), { abandon: true });
  assert.deepEqual(page.sockets[0].closes, [], "its answer is awaited");
  page.sockets[0].say(fault("abandoned"));
  assert.deepEqual(page.sockets[0].closes, [1000]);
  await none(page);
  assertOver(page);
});

for (const retries of [0, undefined]) {
  test(`a file that is cancelled delays no other one; retries: ${retries}`, async () => {
    const page = stage();
    const told = [];
    const uploads = start(page, { files: files(SIZE, 10), retries, onretry: () => told.push(1) });
    await begin(page.sockets[0], { bytes: 100_000 });
    uploads.files[0].abort();
    page.sockets[0].say(fault("abandoned"));
    await quiet();
    assert.equal(states(uploads), "cancelled sending");
    assert.equal(uploads.outage, null);
    await complete(page.sockets[1], 10);
    page.sockets[1].say({ close: true });
    await uploads.done;
    assert.deepEqual(told, []);
    assertOver(page);
  });
}

test("pause is for all files by default, those that wait and those that are sent", async () => {
  const page = stage();
  const uploads = start(page, { connections: 2, files: files(SIZE, SIZE, SIZE) });
  for (const socket of page.sockets) await begin(socket, { bytes: 100_000 });
  page.clock.advance(200);
  uploads.pause();
  assert.equal(states(uploads), "paused paused paused");
  assert.deepEqual(uploads.files.map(({ sent, rate }) => [sent, rate]), [
    [100_000, 0],
    [100_000, 0],
    [0, 0],
  ]);
  assert.ok(uploads.active);
  assert.equal(uploads.progress.secondsLeft, null);
  await none(page);
  assertOver(page);
  const [added] = uploads.add(files(5));
  assert.equal(added.state, "sending", "what is added later is sent");
  await complete(page.sockets[2], 5);
  page.sockets[2].say({ close: true });
  await none(page);
  uploads.resume();
  assert.equal(states(uploads), "sending sending waiting stored");
  for (const socket of page.sockets.slice(3, 5)) {
    await complete(socket, SIZE, 100_000);
    socket.say({ close: true });
  }
  await quiet();
  await complete(page.sockets[5], SIZE);
  page.sockets[5].say({ close: true });
  await uploads.done;
  assertOver(page);
});

test("one file is paused, and the next one is sent", async () => {
  const page = stage();
  const uploads = start(page, { files: files(SIZE, 10) });
  await begin(page.sockets[0], { bytes: 100_000 });
  uploads.files[0].pause();
  assert.equal(states(uploads), "paused sending");
  await complete(page.sockets[1], 10);
  page.sockets[1].say({ close: true });
  await none(page);
  assert.ok(uploads.active);
  uploads.files[0].resume();
  await complete(page.sockets[2], SIZE, 100_000);
  page.sockets[2].say({ close: true });
  await uploads.done;
  assertOver(page);
});

test("a file that was taken, and has not begun, is paused without harm to the others", async () => {
  const page = stage();
  const uploads = start(page, { files: files(10, SIZE, 20, 30) });
  const [socket] = page.sockets;
  await agree(socket);
  assert.equal(states(uploads), "stored sending sending sending");
  uploads.files[2].pause();
  assert.equal(states(uploads), "stored sending paused sending");
  socket.say({ ready: true, file: 1, offset: 0, keep: 1, chunksize: SIZE });
  await quiet();
  assert.deepEqual(metadata(socket), ["f0", "f1", "f3"]);
  socket.say({ close: true, file: 1 }, { close: true, file: 2 });
  await quiet();
  assert.deepEqual(socket.closes, [1000]);
  uploads.resume();
  await complete(page.sockets[1], 20);
  page.sockets[1].say({ close: true });
  await uploads.done;
  assertOver(page);
});

test("a connection that others still need is left once they are answered", async () => {
  const page = stage();
  const uploads = start(page, { files: files(10, 20, SIZE, 30) });
  const [socket] = page.sockets;
  await agree(socket);
  socket.say({ ready: true, file: 2, offset: 0, keep: 1, chunksize: 100_000 });
  await quiet();
  uploads.files[2].pause();
  assert.equal(states(uploads), "stored sending paused waiting");
  socket.say({ ready: true, file: 2, chunksize: 100_000 });
  await quiet();
  assert.equal(socket.chunks.length, 3, "nothing of it is sent any more");
  assert.deepEqual(socket.closes, []);
  socket.say({ close: true, file: 1 });
  await quiet();
  assert.deepEqual(socket.closes, [1000]);
  assert.equal(states(uploads), "stored stored paused sending");
  await complete(page.sockets[1], 30);
  page.sockets[1].say({ close: true });
  await quiet();
  uploads.resume();
  await complete(page.sockets[2], SIZE, 100_000);
  page.sockets[2].say({ close: true });
  await uploads.done;
  assertOver(page);
});

test("a file that was to stop goes on where it is, if it is resumed before that", async () => {
  const page = stage();
  const uploads = start(page, { files: files(10, 20, SIZE) });
  const [socket] = page.sockets;
  await agree(socket);
  socket.say({ ready: true, file: 2, offset: 0, keep: 1, chunksize: 100_000 });
  await quiet();
  uploads.files[2].pause();
  socket.say({ ready: true, file: 2, chunksize: 200_000 });
  uploads.files[2].resume();
  await quiet();
  assert.equal(states(uploads), "stored sending sending");
  socket.say({ close: true, file: 1 }, { close: true, file: 2 });
  await uploads.done;
  assert.equal(page.sockets.length, 1);
  assertOver(page);
});

for (const [what, signal, ends] of [
  ["is refused for now", fault("idle", { next: true, file: 3 }), "paused"],
  ["is refused for ever", fault("conflict", { next: true, file: 3 }), "failed"],
]) {
  test(`a file that is to stop ${what}, and the others get their answers`, async () => {
    const page = stage();
    const uploads = start(page, { files: files(10, 20, 30, SIZE) });
    const [socket] = page.sockets;
    await agree(socket);
    socket.say({ ready: true, file: 3, offset: 0, keep: 1, chunksize: 100_000 });
    await quiet();
    uploads.files[3].pause();
    socket.say(signal);
    await quiet();
    assert.equal(states(uploads), `stored sending sending ${ends}`);
    socket.say({ close: true, file: 1 });
    await quiet();
    assert.deepEqual(socket.closes, [], "file 2 has no answer");
    socket.say({ close: true, file: 2 });
    await quiet();
    assert.equal(states(uploads), `stored stored stored ${ends}`);
    assert.deepEqual(socket.closes, [1000]);
    uploads.abort();
    await quiet();
    if (ends === "paused") abandoned(page.sockets[1], uploads.files[3], keyOf(socket, "f3"));
    assertOver(page);
  });
}

test("a file that is to stop is cancelled: its answer is awaited too", async () => {
  const page = stage();
  const uploads = start(page, { files: files(10, 20, SIZE) });
  const [socket] = page.sockets;
  await agree(socket);
  socket.say({ ready: true, file: 2, offset: 0, keep: 1, chunksize: 100_000 });
  await quiet();
  uploads.files[2].pause();
  uploads.files[2].abort();
  assert.deepEqual(socket.sent.at(-1), { abandon: true, file: 2 });
  socket.say({ close: true, file: 1 });
  await quiet();
  assert.deepEqual(socket.closes, []);
  socket.say(fault("abandoned", { next: true, file: 2 }));
  assert.deepEqual(socket.closes, [1000]);
  await uploads.done;
  assert.equal(states(uploads), "stored stored cancelled");
  assert.equal(page.sockets.length, 1);
  assertOver(page);
});

test("a file that waits is cancelled: the others are tried as before", async () => {
  const page = stage();
  const uploads = start(page, { connections: 2, files: files(SIZE, SIZE, 10) });
  for (const socket of page.sockets) await begin(socket, { bytes: 100_000 });
  page.clock.advance(200);
  for (const socket of page.sockets) socket.drop();
  await quiet();
  assert.equal(states(uploads), "interrupted interrupted waiting");
  const { attempt, error } = uploads.outage;
  assert.deepEqual([attempt, error.code], [1, "connection_lost"]);
  uploads.files[1].abort();
  abandoned(page.sockets[2], uploads.files[1], page.sockets[1].sent[0].upload);
  uploads.abort();
  assert.equal(uploads.outage, null);
  await quiet();
  abandoned(page.sockets[3], uploads.files[0], page.sockets[0].sent[0].upload);
  assert.equal(states(uploads), "cancelled cancelled cancelled");
  await none(page);
  assertOver(page);
});

test("a file that was taken in advance, and is at a server, is abandoned there", async () => {
  const page = stage();
  const uploads = start(page, { files: files(SIZE, 10, SIZE) });
  await begin(page.sockets[0], { bytes: 100_000 });
  page.sockets[0].drop(); // f0 is interrupted
  const socket = await next(page);
  assert.equal(uploads.files[0].state, "sending");
  uploads.files[0].abort(); // before the connection is open
  assert.equal(states(uploads), "cancelled sending waiting");
  abandoned(page.sockets[2], uploads.files[0], page.sockets[0].sent[0].upload);
  await agree(socket);
  assert.deepEqual(metadata(socket), ["f1", "f2"]);
  uploads.abort();
  await quiet();
  socket.say(fault("abandoned", { file: 1, next: true }));
  await quiet();
  assertOver(page);
});

/** Hundreds of files that a server may have, after their connection was lost; none is sent. */
async function lostMany() {
  const page = stage();
  const uploads = start(page, { files: files(...Array(300).fill(10)) });
  const [socket] = page.sockets;
  await agree(socket);
  await until(() => socket.sent.length > 180);
  socket.drop();
  await quiet();
  return { page, uploads };
}

test("of hundreds of files that are cancelled the server is told on three connections", async () => {
  const { page, uploads } = await lostMany();
  uploads.abort();
  await quiet();
  assert.equal(page.sockets.length, 1 + 3);
  const told = new Set();
  for (let number = 1; number < page.sockets.length; number++) {
    const socket = page.sockets[number];
    assert.ok(page.sockets.length - number <= 3);
    socket.open();
    assert.equal(socket.sent[0].abandon, true);
    told.add(socket.sent[0].upload);
    socket.say(fault("abandoned"));
    await quiet();
  }
  assert.ok(told.size > 50);
  assert.equal(told.size, page.sockets.length - 1);
  assertOver(page);
});

test("a server that is away is not told of hundreds of files", async () => {
  const { page, uploads } = await lostMany();
  uploads.abort();
  let broken = 1;
  for (let seconds = 0; seconds < 200; seconds++) {
    assert.ok(page.sockets.length - broken <= 3);
    while (broken < page.sockets.length) page.sockets[broken++].break();
    await quiet();
    page.clock.advance(1_000);
    await quiet();
  }
  assert.ok(page.sockets.length <= 1 + 3 * 10);
  await none(page);
  assertOver(page);
});

test("hold ends the attempts, and release begins them", async () => {
  const page = stage();
  const uploads = start(page, { files: files(10, 20) });
  uploads.hold();
  assert.equal(states(uploads), "waiting waiting");
  await none(page);
  assertOver(page);
  uploads.add(files(5));
  await none(page);
  uploads.release();
  assert.equal(states(uploads), "sending waiting waiting");
  page.sockets[1].break();
  await quiet();
  assert.equal(uploads.outage.attempt, 1);
  uploads.hold();
  await none(page);
  assertOver(page);
  uploads.release();
  await agree(page.sockets[2]);
  page.sockets[2].say({ close: true, file: 1 }, { close: true, file: 2 });
  await uploads.done;
  assertOver(page);
});

test("what is paused stays so through hold and release", async () => {
  const page = stage();
  const uploads = start(page, { files: files(10, 20) });
  uploads.files[1].pause();
  uploads.hold();
  uploads.release();
  assert.equal(states(uploads), "sending paused");
  uploads.abort();
  await uploads.done;
  await quiet();
  assertOver(page);
});

test("clear takes what has ended out of the list, the total and the iterator", async () => {
  const page = stage();
  const uploads = start(page, { files: files(10, 20, SIZE), maxSize: SIZE });
  uploads.add(files(SIZE + 1));
  uploads.files[1].abort();
  await agree(page.sockets[0]);
  assert.equal(states(uploads), "stored cancelled sending failed");
  const cleared = uploads.files.slice();
  uploads.clear();
  assert.equal(states(uploads), "sending");
  const { size, files: count, filesEnded } = uploads.progress;
  assert.deepEqual([size, count, filesEnded], [SIZE, 1, 0]);
  uploads.clear(cleared);
  assert.deepEqual(uploads.progress.files, 1, "nothing is counted twice");
  const ended = [];
  const reading = (async () => {
    for await (const { name, state } of uploads) ended.push(`${name} ${state}`);
  })();
  page.sockets[0].say({ ready: true, file: 1, offset: 0, keep: 1, chunksize: SIZE });
  await quiet();
  page.sockets[0].say({ close: true, file: 1 });
  await reading;
  assert.deepEqual(ended, ["f2 stored"]);
  assert.equal((await uploads.done).length, 1);
  assertOver(page);
});

test("clear leaves an iterator that is under way at its place", async () => {
  const page = stage();
  const uploads = start(page, { files: files(10, 20, 30) });
  const ended = [];
  const reading = (async () => {
    for await (const { name } of uploads) {
      ended.push(name);
      uploads.clear();
    }
  })();
  await agree(page.sockets[0]);
  page.sockets[0].say({ close: true, file: 2 });
  await quiet();
  page.sockets[0].say({ close: true, file: 1 });
  await reading;
  assert.deepEqual(ended, ["f0", "f2", "f1"]);
  assert.deepEqual(uploads.files, []);
});

test("files that were cleared are not tried again, nor those of other uploads", async () => {
  const page = stage();
  const uploads = start(page, { files: files(10, 20) });
  const [cleared] = uploads.files;
  cleared.abort();
  uploads.clear();
  const foreign = page.uploadAll({ url, files: files(5), maxSize: 1 }).files;
  uploads.retry([cleared, ...foreign]);
  assert.deepEqual([cleared.state, foreign[0].state], ["cancelled", "failed"]);
  await quiet();
  await complete(page.sockets.at(-1), 20);
  page.sockets.at(-1).say({ close: true });
  await uploads.done;
  assertOver(page);
});

test("the token that is refused is that of interrupted files too, whose readers end", async () => {
  const page = stage({ worker: "runs" });
  const chosen = [fileOf(pattern(5 * 2 ** 20), "large"), fileOf(BYTES, "small")];
  const uploads = start(page, { connections: 2, files: chosen, hash: "sha1", token: "old" });
  await begin(page.sockets[0], { bytes: 100_000 });
  page.clock.advance(200);
  page.sockets[1].open();
  page.sockets[0].drop();
  await quiet();
  assert.equal(states(uploads), "interrupted sending");
  page.sockets[1].say(fault("unauthorized"));
  await uploads.done;
  assert.equal(states(uploads), "failed failed");
  assert.deepEqual(uploads.files.map(({ error }) => error.code), ["unauthorized", "unauthorized"]);
  await none(page);
  assertOver(page);
});

test("a file that failed is tried again with its key, where the server keeps a part", async () => {
  const page = stage();
  const uploads = start(page, { files: files(SIZE), retries: 0 });
  await begin(page.sockets[0], { bytes: 100_000 });
  page.sockets[0].drop();
  await uploads.done;
  uploads.retry(uploads.files);
  await complete(page.sockets[1], SIZE, 100_000);
  const [before, after] = page.sockets.map(({ sent }) => sent[0].upload);
  assert.equal(before, after);
  page.sockets[1].say({ close: true });
  await uploads.done;
  assert.equal(states(uploads), "stored");
  assertOver(page);
});

test("a file that was cancelled is begun anew by another key", async () => {
  const page = stage();
  const uploads = start(page, { files: files(SIZE) });
  await begin(page.sockets[0], { bytes: 100_000 });
  uploads.abort();
  page.sockets[0].say(fault("abandoned"));
  await uploads.done;
  uploads.retry(uploads.files);
  const socket = page.sockets.at(-1);
  await quiet();
  await complete(socket, SIZE);
  assert.notEqual(socket.sent[0].upload, page.sockets[0].sent[0].upload);
  socket.say({ close: true });
  await uploads.done;
  assertOver(page);
});

test("a file that was cancelled behind its last byte keeps its key, and is not stored twice", async () => {
  const page = stage();
  const uploads = start(page, { files: files(SIZE) });
  await begin(page.sockets[0], { bytes: SIZE });
  page.sockets[0].say({ ready: true });
  await until(() => page.sockets[0].finished.length > 0);
  uploads.abort();
  assert.equal(uploads.files[0].mayBeStored, true);
  page.sockets[0].say({ close: true });
  uploads.retry(uploads.files);
  const socket = page.sockets[1];
  socket.open();
  await quiet();
  const [before, after] = page.sockets.map(({ sent }) => sent[0].upload);
  assert.equal(after, before);
  socket.say({ close: true, can: ["resume"] });
  await uploads.done;
  assert.equal(states(uploads), "stored");
  assertOver(page);
});

test("a file that is tried again is not abandoned any more", async () => {
  const page = stage();
  const uploads = start(page, { files: files(SIZE) });
  await begin(page.sockets[0], { bytes: SIZE });
  page.sockets[0].say({ ready: true });
  await until(() => page.sockets[0].finished.length > 0);
  page.sockets[0].drop();
  await quiet();
  uploads.abort();
  await quiet();
  page.sockets[1].break(); // which was to tell the server
  uploads.retry(uploads.files);
  const socket = page.sockets[2];
  await complete(socket, SIZE, SIZE);
  assert.equal(socket.sent[0].upload, page.sockets[0].sent[0].upload);
  page.clock.advance(3_000); // more than the wait before another attempt to tell the server
  await quiet();
  assert.equal(page.sockets.length, 3);
  socket.say({ close: true });
  await uploads.done;
  assert.equal(states(uploads), "stored");
  assertOver(page);
});

test("a handler may pause or hold the others when a file that was taken in advance is cancelled", async () => {
  for (const what of ["pause", "hold"]) {
    const page = stage();
    const uploads = start(page, {
      files: files(SIZE, 10, 20, 30),
      onfile: ({ name, state }) => name === "f1" && state === "cancelled" && uploads[what](),
    });
    const [socket] = page.sockets;
    socket.open();
    socket.say({ ready: true, ...BOTH, offset: 0, chunksize: 10 });
    await until(() => uploads.files[3].state === "sending");
    uploads.files[1].abort();
    await quiet();
    const after = what === "pause" ? "paused" : "waiting";
    assert.deepEqual(uploads.files.slice(2).map(({ state }) => state), [after, after]);
    assert.deepEqual(page.reported, []);
  }
});

test("files that were taken in advance are paused with the one that is sent", async () => {
  const page = stage();
  const uploads = start(page, { files: files(SIZE, 10, 20, 30) });
  const [socket] = page.sockets;
  socket.open();
  socket.say({ ready: true, ...BOTH, offset: 0, chunksize: 10 });
  await until(() => uploads.files[3].state === "sending");
  uploads.pause();
  assert.equal(states(uploads), "paused paused paused paused");
  await none(page);
  assertOver(page);
});
