// Uploads that lose their connection, and what becomes of them.

import assert from "node:assert/strict";
import { test } from "node:test";
import { begin, checkOf, complete, fault, first, next, none, sha1, take } from "./resuming.mjs";
import {
  ScriptedFile,
  assertOver,
  fileOf,
  names,
  pattern,
  quiet,
  serve,
  stage,
  until,
} from "./stage.mjs";

const SIZE = 300_000;
const BYTES = pattern(SIZE);
const HASH = { type: "sha1", value: sha1(BYTES) };
const url = "ws://host/";

/** Start `upload`; `told` has what its handlers were told. */
function start(page, options) {
  const told = [];
  const run = page.upload({
    ...{ url, file: fileOf(BYTES), chunksize: 100_000 },
    onerror: ({ code }) => told.push(`error ${code}`),
    onretry: ({ attempt, error }) => told.push(`retry ${attempt} ${error.code}`),
    ...options,
  });
  return Object.assign(run, { told });
}

const READERS = { page: null, worker: "runs", "page without a Worker": "throws" };

for (const [reader, worker] of Object.entries(READERS)) {
  const options = () => stage({ worker });

  test(`lost after the metadata, and sent from the first byte: ${reader}`, async () => {
    const page = options();
    const run = start(page);
    page.sockets[0].open();
    page.sockets[0].drop();
    const socket = await next(page);
    await complete(socket, SIZE);
    assert.deepEqual(Buffer.concat(socket.chunks), BYTES);
    assert.deepEqual(socket.finished, [{ finished: true, hash: HASH }]);
    socket.say({ close: true });
    assert.deepEqual((await run).hash, HASH);
    assert.deepEqual(run.told, ["retry 1 connection_lost"]);
    assertOver(page);
  });

  for (const offset of [0, 1, 100_000, 150_001, 200_000]) {
    test(`lost in the middle, and continued at ${offset}: ${reader}`, async () => {
      const page = options();
      const run = start(page);
      await begin(page.sockets[0], { bytes: 200_000 });
      page.sockets[0].drop();
      const socket = await next(page);
      await complete(socket, SIZE, offset, checkOf(BYTES.subarray(0, offset)));
      const [before, after] = page.sockets.map(({ sent }) => sent[0]);
      assert.deepEqual(before, after, "the same metadata");
      assert.match(before.upload, /^[0-9a-f]{32}$/);
      assert.deepEqual(Buffer.concat(socket.chunks), BYTES.subarray(offset));
      assert.deepEqual(socket.finished, [{ finished: true, hash: HASH }]);
      socket.say({ close: true });
      assert.deepEqual((await run).hash, HASH);
      assertOver(page);
    });
  }

  test(`lost after finished, and the server has all bytes: ${reader}`, async () => {
    const page = options();
    const run = start(page);
    await complete(page.sockets[0], SIZE);
    page.sockets[0].drop();
    const socket = await next(page);
    await complete(socket, SIZE, SIZE, HASH);
    assert.deepEqual([socket.chunks, socket.finished], [[], [{ finished: true, hash: HASH }]]);
    socket.say({ close: true });
    assert.deepEqual((await run).hash, HASH);
    assertOver(page);
  });

  test(`lost before the close, which is the first signal then: ${reader}`, async () => {
    const page = options();
    const run = start(page);
    await complete(page.sockets[0], SIZE);
    page.sockets[0].drop();
    const socket = await next(page);
    socket.open();
    socket.say({ close: true, can: ["resume"], name: "other.bin" });
    const receipt = await run;
    assert.deepEqual([receipt.name, receipt.hash], ["other.bin", HASH]);
    assertOver(page);
  });

  test(`lost again and again, at other places: ${reader}`, async () => {
    const page = options();
    const run = start(page);
    await begin(page.sockets[0], { bytes: 250_000 });
    for (const [offset, bytes] of [[250_000, 10], [0, 100_001], [100_000, 1], [7, 200_000]]) {
      page.sockets.at(-1).drop();
      await begin(await next(page), { offset, bytes, check: checkOf(BYTES.subarray(0, offset)) });
    }
    page.sockets.at(-1).drop();
    await complete(await next(page), SIZE, 200_007, checkOf(BYTES.subarray(0, 200_007)));
    assert.deepEqual(page.sockets.at(-1).finished, [{ finished: true, hash: HASH }]);
    page.sockets.at(-1).say({ close: true });
    await run;
    assertOver(page);
  });

  test(`a server that cannot resume gets the whole file again, and its hash: ${reader}`, async () => {
    const page = options();
    const run = start(page);
    page.sockets[0].open();
    await take(page.sockets[0], 200_000);
    page.sockets[0].drop();
    const socket = await next(page);
    await serve(socket);
    assert.deepEqual(Buffer.concat(socket.chunks), BYTES);
    assert.deepEqual(socket.finished, [{ finished: true, hash: HASH }]);
    await run;
    assertOver(page);
  });

  test(`an old server after a new one is tried three times, then gets all: ${reader}`, async () => {
    const page = options();
    const run = start(page);
    await begin(page.sockets[0], { bytes: 200_000 });
    page.sockets[0].drop();
    for (let meeting = 0; meeting < 3; meeting++) {
      const socket = await next(page);
      socket.open();
      socket.say({ ready: true });
      await quiet();
      assert.deepEqual([socket.sent.length, socket.closes], [1, [1000]]);
    }
    const socket = await next(page);
    await serve(socket);
    assert.deepEqual(Buffer.concat(socket.chunks), BYTES);
    assert.deepEqual(socket.finished, [{ finished: true, hash: HASH }]);
    await run;
    assertOver(page);
  });

  test(`other bytes at the server: abandoned, and begun anew with another key: ${reader}`, async () => {
    const page = options();
    const run = start(page);
    await begin(page.sockets[0], { bytes: 200_000 });
    page.sockets[0].drop();
    const socket = await next(page);
    socket.open();
    const check = checkOf(pattern(100_000).fill(7));
    socket.say(first(100_000, { chunksize: 100_000, check }));
    await until(() => socket.sent.length > 1);
    assert.deepEqual(socket.sent.slice(1), [{ abandon: true }]);
    socket.say({ ready: true, chunksize: 10 }, fault("abandoned"));
    const other = await next(page);
    await complete(other, SIZE);
    const keys = page.sockets.map(({ sent }) => sent[0].upload);
    assert.ok(keys[0] === keys[1] && keys[1] !== keys[2]);
    assert.deepEqual(Buffer.concat(other.chunks), BYTES);
    assert.deepEqual(other.finished, [{ finished: true, hash: HASH }]);
    other.say({ close: true });
    await run;
    assert.deepEqual(run.told, ["retry 1 connection_lost"], "that is no failure");
    assertOver(page);
  });

  test(`begun anew with another key at a server that cannot resume: ${reader}`, async () => {
    const page = options();
    const run = start(page);
    await begin(page.sockets[0], { bytes: 200_000 });
    page.sockets[0].drop();
    const socket = await next(page);
    socket.open();
    socket.say(first(100_000, { chunksize: 100_000, check: checkOf(pattern(9)) }));
    await until(() => socket.sent.length > 1);
    socket.say(fault("abandoned"));
    const other = await next(page);
    await serve(other);
    assert.deepEqual(Buffer.concat(other.chunks), BYTES);
    assert.deepEqual(other.finished, [{ finished: true, hash: HASH }]);
    await run;
    assertOver(page);
  });

  test(`cancelled on the way to its place: ${reader}`, async () => {
    for (const check of [checkOf(BYTES.subarray(0, 150_000)), checkOf(pattern(3))]) {
      const page = options();
      const run = start(page);
      await begin(page.sockets[0], { bytes: 200_000 });
      page.sockets[0].drop();
      const socket = await next(page);
      socket.open();
      socket.say(first(150_000, { chunksize: 10, check }));
      run.abort();
      await assert.rejects(run.done, { code: "aborted" });
      await quiet();
      await quiet();
      assert.deepEqual(socket.sent.slice(1), [{ abandon: true }]);
      socket.say(fault("abandoned"));
      await none(page);
      assertOver(page);
    }
  });
}

for (const hash of ["none", "sha512"]) {
  test(`with the hash ${hash} a check by sha1 says nothing`, async () => {
    const page = stage();
    const run = start(page, { hash });
    await begin(page.sockets[0], { bytes: 200_000 });
    page.sockets[0].drop();
    const socket = await next(page);
    await complete(socket, SIZE, 100_000, checkOf(pattern(3)));
    socket.say({ close: true });
    await run;
    assertOver(page);
  });
}

test("a check is compared without regard to case", async () => {
  const page = stage();
  const run = start(page);
  await begin(page.sockets[0], { bytes: 200_000 });
  page.sockets[0].drop();
  const socket = await next(page);
  const { value } = checkOf(BYTES.subarray(0, 100_000));
  await complete(socket, SIZE, 100_000, { type: "sha1", value: value.toUpperCase() });
  socket.say({ close: true });
  await run;
});

for (const check of [7, "x", {}, { type: "sha1" }, { type: "sha1", value: 7 }, { type: 7, value: "" }]) {
  test(`no check is ${JSON.stringify(check)}`, async () => {
    const page = stage();
    const run = start(page);
    await begin(page.sockets[0], { bytes: 200_000 });
    page.sockets[0].drop();
    const socket = await next(page);
    await complete(socket, SIZE, 100_000, check);
    socket.say({ close: true });
    await run;
  });
}

test("a server whose check is wrong from the first byte on gets the file nevertheless", async () => {
  const page = stage();
  const run = start(page);
  await begin(page.sockets[0], { bytes: 200_000 });
  page.sockets[0].drop();
  const wrong = checkOf(pattern(3));
  const socket = await next(page);
  socket.open();
  socket.say(first(100_000, { chunksize: 10, check: wrong }));
  await until(() => socket.sent.length > 1);
  socket.say(fault("abandoned"));
  const other = await next(page);
  await complete(other, SIZE, 0, wrong);
  other.say({ close: true });
  await run;
});

test("a server that has other bytes of each new key too is given up", async () => {
  const page = stage();
  const run = start(page);
  const wrong = checkOf(pattern(3));
  const keys = new Set();
  for (let tries = 0; tries < 4; tries++) {
    const socket = tries === 0 ? page.sockets[0] : await next(page);
    socket.open();
    socket.say(first(100_000, { chunksize: 10, check: wrong }));
    await until(() => socket.sent.length > 1 || page.sockets.length > 4);
    keys.add(socket.sent[0].upload);
    socket.say(fault("abandoned"));
  }
  await assert.rejects(run.done, { code: "bad_message" });
  assert.equal(keys.size, 4);
  await none(page);
  assertOver(page);
});

for (const code of ["idle", "too_slow", "busy", "shutting_down", "storage_failed"]) {
  test(`after ${code} the upload goes on`, async () => {
    const page = stage();
    const run = start(page);
    await begin(page.sockets[0], { bytes: 200_000 });
    page.sockets[0].say(fault(code, { kept: 60 }));
    const socket = await next(page);
    assert.deepEqual(run.told, [`retry 1 ${code}`]);
    await complete(socket, SIZE, 200_000);
    socket.say({ close: true });
    await run;
    assertOver(page);
  });
}

for (const code of ["taken_over", "conflict", "quota_exceeded", "unauthorized", "hash_mismatch"]) {
  test(`after ${code} the upload does not go on`, async () => {
    const page = stage();
    const run = start(page);
    await begin(page.sockets[0], { bytes: 200_000 });
    page.sockets[0].say(fault(code));
    await assert.rejects(run.done, { code, reason: `It is ${code}.` });
    assert.deepEqual(run.told, [`error ${code}`]);
    await none(page);
    assertOver(page);
  });
}

test("a server that stays busy is given up with its own words", async () => {
  const page = stage();
  const run = start(page, { retries: 2 });
  for (let attempt = 0; attempt < 3; attempt++) {
    const socket = attempt === 0 ? page.sockets[0] : await next(page);
    socket.open();
    socket.say(fault("busy", { can: ["resume"] }));
  }
  await assert.rejects(run.done, { code: "busy", reason: "It is busy." });
  assert.deepEqual(run.told.slice(0, 2), ["retry 1 busy", "retry 2 busy"]);
  await none(page);
  assertOver(page);
});

test("finished, and an old server after a new one: the file may be stored", async () => {
  const page = stage();
  const uploads = page.uploadAll({ url, files: [fileOf(BYTES)], connections: 1 });
  await complete(page.sockets[0], SIZE);
  page.sockets[0].drop();
  for (let meeting = 0; meeting < 4; meeting++) {
    const socket = await next(page);
    socket.open();
    socket.say({ ready: true });
    await quiet();
    assert.equal(socket.sent.length, 1, "it could store the file twice");
  }
  await uploads.done;
  const [{ state, mayBeStored, error }] = uploads.files;
  assert.deepEqual([state, mayBeStored, error.code], ["failed", true, "connection_lost"]);
  assert.match(error.reason, /cannot tell whether the file is stored/);
  await none(page);
  assertOver(page);
});

for (const [what, signal] of [
  ["warns", { error: "slow" }],
  ["takes further files", { error: "slow", can: ["next"], next: true }],
]) {
  test(`an old server that ${what} first is tried again all the same`, async () => {
    const page = stage();
    const uploads = page.uploadAll({ url, files: [fileOf(BYTES)], connections: 1 });
    await begin(page.sockets[0], { bytes: 200_000 });
    page.sockets[0].drop();
    const socket = await next(page);
    socket.open();
    socket.say(signal, { ready: true, chunksize: 10 });
    await quiet();
    assert.deepEqual([socket.chunks.length, socket.closes], [0, [1000]]);
    await complete(await next(page), SIZE, 200_000);
    page.sockets[2].say({ close: true });
    await uploads.done;
    assertOver(page);
  });
}

test("finished, and given up while the server is away: the file may be stored", async () => {
  const page = stage();
  const uploads = page.uploadAll({ url, files: [fileOf(BYTES)], retries: 1 });
  await complete(page.sockets[0], SIZE);
  page.sockets[0].drop();
  (await next(page)).break();
  await uploads.done;
  const [{ state, mayBeStored, error }] = uploads.files;
  assert.deepEqual([state, mayBeStored], ["failed", true]);
  assert.match(error.reason, /may have stored the file/);
  assertOver(page);
});

test("a ready after finished says that the file is not stored", async () => {
  const page = stage();
  const uploads = page.uploadAll({ url, files: [fileOf(BYTES)], retries: 1 });
  await complete(page.sockets[0], SIZE);
  page.sockets[0].drop();
  const socket = await next(page);
  socket.open();
  socket.say(first(100_000, { chunksize: 10 }));
  await until(() => socket.chunks.length > 0);
  uploads.abort();
  assert.equal(uploads.files[0].mayBeStored, false);
});

test("an offset that is none is a failure, and not tried again", async () => {
  for (const offset of [undefined, -1, SIZE + 1, "0"]) {
    const page = stage();
    const run = start(page);
    page.sockets[0].open();
    page.sockets[0].say(first(offset));
    await assert.rejects(run.done, { code: "bad_message" });
    await none(page);
    assertOver(page);
  }
});

test("with retries: 0 the first lost connection is the last one", async () => {
  const page = stage();
  const run = start(page, { retries: 0 });
  await begin(page.sockets[0], { bytes: 200_000 });
  page.sockets[0].drop();
  await assert.rejects(run.done, { code: "connection_lost" });
  await none(page);
  assertOver(page);
});

test("with retries: 0 other bytes at the server are no failure", async () => {
  const page = stage();
  const run = start(page, { retries: 0 });
  const socket = page.sockets[0];
  socket.open();
  socket.say(first(100_000, { chunksize: 10, check: checkOf(pattern(3)) }));
  await until(() => socket.sent.length > 1);
  socket.say(fault("abandoned"));
  const other = await next(page);
  await complete(other, SIZE);
  other.say({ close: true });
  await run;
  assertOver(page);
});

test("a file that cuts each connection fails after twenty more, with retries: Infinity too", async () => {
  const page = stage();
  const run = start(page, { retries: Infinity });
  for (let count = 0; count <= 21; count++) {
    const socket = count === 0 ? page.sockets[0] : await next(page);
    await begin(socket, { offset: count === 0 ? 0 : 10, bytes: 10 });
    socket.drop();
  }
  await assert.rejects(run.done, { code: "connection_lost" });
  await none(page);
  assertOver(page);
});

test("an upload that gets on by a little on each connection is not given up", async () => {
  const page = stage();
  const run = start(page, { retries: 2 });
  for (let offset = 0; offset < 40; offset++) {
    const socket = offset === 0 ? page.sockets[0] : await next(page);
    await begin(socket, { offset, bytes: 1 });
    socket.drop();
  }
  const socket = await next(page);
  await complete(socket, SIZE, 40);
  socket.say({ close: true });
  await run;
  assertOver(page);
});

test("a server that is away is waited for, and the upload goes on with what it has", async () => {
  const page = stage();
  const run = start(page);
  await begin(page.sockets[0], { bytes: 200_000 });
  page.sockets[0].drop();
  for (let attempt = 0; attempt < 6; attempt++) (await next(page)).break();
  const socket = await next(page);
  await complete(socket, SIZE, 200_000);
  socket.say({ close: true });
  await run;
  assert.equal(run.told.at(-1), "retry 7 connection_failed");
  assertOver(page);
});

test("a server that was never reached fails after four attempts", async () => {
  const page = stage();
  const run = start(page);
  page.sockets[0].break();
  for (let attempt = 0; attempt < 3; attempt++) (await next(page)).break();
  await assert.rejects(run.done, { code: "connection_failed" });
  await none(page);
  assertOver(page);
});

test("the progress stays where it was, and goes back to where the server is", async () => {
  const page = stage();
  const events = [];
  const run = start(page, { onprogress: ({ sent }) => events.push(sent) });
  await begin(page.sockets[0], { bytes: 200_000 });
  page.clock.advance(200);
  page.sockets[0].drop();
  const socket = await next(page);
  socket.open();
  page.clock.advance(200);
  assert.ok(events.length >= 2 && events.every((sent) => sent === 200_000), String(events));
  socket.say(first(150_000, { chunksize: 10_000 }));
  await until(() => socket.chunks.length > 0);
  page.clock.advance(200);
  assert.equal(events.at(-1), 160_000);
  run.abort();
  await run.done.catch(() => {});
});

for (const size of [0, 5]) {
  test(`a file that is gone is not taken for an empty one: ${size} bytes`, async () => {
    const page = stage();
    const file = fileOf(pattern(size));
    file.arrayBuffer = () => Promise.reject(new DOMException("gone", "NotFoundError"));
    file.slice = () => ({ arrayBuffer: file.arrayBuffer });
    const run = start(page, { file });
    page.sockets[0].open();
    page.sockets[0].say(first(0));
    await assert.rejects(run.done, { code: "file_unreadable" });
  });
}

test("an empty file is finished, after a lost connection too", async () => {
  const page = stage();
  const run = start(page, { file: fileOf("") });
  await complete(page.sockets[0], 0);
  assert.deepEqual(page.sockets[0].finished, [{ finished: true, hash: checkOf("") }]);
  page.sockets[0].drop();
  const socket = await next(page);
  await complete(socket, 0);
  socket.say({ close: true });
  await run;
  assertOver(page);
});

test("a file that has become shorter fails on the way to its place", async () => {
  for (const length of [0, 50]) {
    const page = stage();
    const file = new ScriptedFile(SIZE);
    const run = start(page, { file });
    await begin(page.sockets[0], { bytes: 200_000 });
    page.sockets[0].drop();
    file.held = true;
    file.reads.length = 0;
    const socket = await next(page);
    socket.open();
    socket.say(first(150_000, { chunksize: 10 }));
    await until(() => file.reads.length > 0);
    file.reads[0].give(length);
    await quiet();
    assert.ok(file.reads.length < 5, "it is read again and again");
    await assert.rejects(run.done, { code: /file_unreadable|file_changed/ });
  }
});

test("a place that is looked for when the connection is lost is not gone to afterwards", async () => {
  const page = stage({ worker: "runs" });
  const run = start(page);
  await begin(page.sockets[0], { bytes: 200_000 });
  page.sockets[0].drop();
  for (const offset of [199_999, 100_001, 150_000]) {
    const socket = await next(page);
    socket.open();
    socket.say(first(offset, { chunksize: 10 }));
    socket.drop();
  }
  const socket = await next(page);
  await complete(socket, SIZE, 120_000);
  assert.deepEqual(socket.finished, [{ finished: true, hash: HASH }]);
  socket.say({ close: true });
  await run;
});

test("a reader that opens late does not disturb the upload on the next connection", async () => {
  const page = stage({ worker: "runs" });
  const run = start(page);
  page.sockets[0].open();
  page.sockets[0].say(first(1_000, { chunksize: 10, check: checkOf(BYTES.subarray(0, 1_000)) }));
  page.sockets[0].drop(); // before the Worker is ready
  const socket = await next(page);
  await complete(socket, SIZE, 0);
  assert.deepEqual(socket.finished, [{ finished: true, hash: HASH }]);
  socket.say({ close: true });
  await run;
  assertOver(page);
});

test("while the bytes below the place are read, the connection is not given up", async () => {
  const page = stage();
  const file = new ScriptedFile(SIZE);
  const run = start(page, { file });
  await begin(page.sockets[0], { bytes: 200_000 });
  page.sockets[0].drop();
  file.held = true;
  file.reads.length = 0;
  const socket = await next(page);
  socket.open();
  socket.say(first(150_000, { chunksize: 10 }));
  await until(() => file.reads.length > 0);
  page.clock.advance(300_000);
  assert.deepEqual(socket.closes, []);
  file.reads[0].give();
  file.held = false;
  await until(() => socket.chunks.length > 0);
  run.abort();
  await run.done.catch(() => {});
});

test("GalileoSend goes on, and calls no handler for that, nor one twice", async () => {
  const page = stage();
  const run = page.send(fileOf(BYTES), { chunksize: 100_000 });
  await begin(page.sockets[0], { bytes: 200_000 });
  page.sockets[0].drop();
  await complete(await next(page), SIZE, 50_000);
  page.sockets[1].drop();
  const socket = await next(page);
  await complete(socket, SIZE, SIZE);
  socket.say({ close: true });
  socket.drop(1000);
  const ratios = [1 / 3, 2 / 3, 5 / 6, 1];
  assert.deepEqual(run.log, [
    ...ratios.map((ratio) => ["onchunk", ratio]),
    ["onsuccess"],
    ["onclose"],
  ]);
  await run.done;
  assertOver(page);
});

test("GalileoSend calls onchunk once for an empty file", async () => {
  const page = stage();
  const run = page.send(fileOf(""));
  await complete(page.sockets[0], 0);
  page.sockets[0].drop();
  const socket = await next(page);
  await complete(socket, 0);
  socket.say({ close: true });
  socket.drop(1000);
  assert.deepEqual(run.log, [["onchunk", 1], ["onsuccess"], ["onclose"]]);
});

test("GalileoSend is given up in the end, by one onfailure and one onclose", async () => {
  const page = stage();
  const run = page.send(fileOf(BYTES), { chunksize: 100_000 });
  await begin(page.sockets[0], { bytes: 200_000 });
  page.sockets[0].drop();
  for (let attempt = 0; attempt < 7; attempt++) {
    assert.deepEqual(names(run.log), ["onchunk", "onchunk"]);
    (await next(page)).break();
  }
  await quiet();
  assert.deepEqual(names(run.log), ["onchunk", "onchunk", "onfailure", "onclose"]);
  await none(page);
  assert.equal(run.log.length, 4);
  assertOver(page);
});

for (const [what, end] of [
  ["cannot be reached", (socket) => socket.break()],
  ["is old", (socket) => {
    socket.open();
    socket.say({ ready: true });
    socket.drop();
  }],
  ["is lost before it says anything", (socket) => {
    socket.open();
    socket.drop();
  }],
  ["is old and busy", (socket) => {
    socket.open();
    socket.say(fault("busy"));
  }],
]) {
  test(`GalileoSend fails at once where the server ${what}`, async () => {
    const page = stage();
    const run = page.send(fileOf(BYTES));
    end(page.sockets[0]);
    await assert.rejects(run.done);
    await none(page);
    assert.equal(run.log.filter(([name]) => name === "onfailure").length, 1);
    assert.equal(run.log.at(-1)[0], "onclose");
    assertOver(page);
  });
}

test("a connection that was given up and comes late takes the upload over once, and no more", async () => {
  for (const times of [1, 2]) {
    const page = stage();
    const run = page.upload({ url: "ws://host/", file: fileOf(pattern(1_000)), hash: "none" });
    await begin(page.sockets[0], { bytes: 100 });
    page.clock.advance(11_000); // silent
    await quiet();
    for (let time = 0; time < times; time++) {
      const socket = page.sockets[1 + time] ?? (await next(page));
      await begin(socket, { offset: 100, bytes: 100 });
      socket.say(fault("taken_over", { kept: 60 }));
      await quiet();
    }
    if (times === 2) await assert.rejects(run.done, { code: "taken_over" });
    else {
      const socket = await next(page);
      await complete(socket, 1_000, 200);
      socket.say({ close: true });
      await run;
    }
    await none(page);
  }
});

test("a file that cannot be read any more fails, and the server keeps what it has", async () => {
  const page = stage();
  const file = new ScriptedFile(1_000, { held: true });
  const run = page.upload({ url: "ws://host/", file, hash: "none" });
  const [socket] = page.sockets;
  socket.open();
  socket.say(first(0, { chunksize: 100 }), { ready: true, chunksize: 100 });
  await until(() => file.reads.length === 2);
  file.reads[0].give();
  await until(() => socket.chunks.length === 1);
  file.reads[1].refuse(new DOMException("gone", "NotFoundError"));
  await assert.rejects(run.done, { code: "file_unreadable" });
  assert.deepEqual(socket.sent.filter(({ abandon }) => abandon), []);
  assert.deepEqual(socket.closes, [1000]);
  await none(page);
});
