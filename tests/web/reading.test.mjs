// Chunks, credits, backpressure, hashes, and who reads: a Worker or the page.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { BASE, ScriptedFile, fileOf, pattern, quiet, serve, stage, until } from "./stage.mjs";

const MB = 2 ** 20;
const lengths = (socket) => socket.chunks.map(({ length }) => length);

test("250,000 bytes where nobody says otherwise", async () => {
  const run = stage().send(fileOf(pattern(600_000)), { hash: "none" });
  await serve(run.socket);
  assert.deepEqual(lengths(run.socket), [250_000, 250_000, 100_000]);
});

test("the signal's chunksize wins over the page's, which wins over the default", async () => {
  const run = stage().send(new ScriptedFile(100), { chunksize: 30, hash: "none" });
  run.socket.open();
  run.socket.say({ ready: true, chunksize: 10 }, { ready: true, chunksize: 0 });
  run.socket.say({ ready: true, chunksize: 40 }, { ready: true });
  await quiet();
  assert.deepEqual(lengths(run.socket), [10, 30, 40, 20]);
});

test("a chunksize that is no size names none", async () => {
  for (const chunksize of [-1, 1.5, "10", null, true, {}, []]) {
    const run = stage().send(new ScriptedFile(100), { chunksize: 30, hash: "none" });
    run.socket.open();
    run.socket.say({ ready: true, chunksize });
    await quiet();
    assert.deepEqual(lengths(run.socket), [30]);
  }
});

test("a chunk is at most 16 MiB, whatever the server would take", async () => {
  const file = new ScriptedFile(2 ** 40, { held: true });
  const run = stage().send(file, { hash: "none" });
  run.socket.open();
  run.socket.say({ ready: true, chunksize: 2 ** 40 });
  await quiet();
  assert.deepEqual(
    file.reads.map(({ length }) => length),
    [16 * MB],
  );
});

test("several credits at once: the chunks come in order, each of its credit's size", async () => {
  const bytes = pattern(100);
  const run = stage().send(fileOf(bytes));
  run.socket.open();
  for (const chunksize of [7, 50, 1, 42, 9]) run.socket.say({ ready: true, chunksize });
  await until(() => run.socket.finished.length === 1);
  assert.deepEqual(lengths(run.socket), [7, 50, 1, 42]);
  assert.deepEqual(Buffer.concat(run.socket.chunks), bytes);
});

test("reads that end out of order are sent in order", async () => {
  const file = new ScriptedFile(30, { held: true });
  const run = stage().send(file, { hash: "none" });
  run.socket.open();
  run.socket.say({ ready: true, chunksize: 10 }, { ready: true, chunksize: 20 });
  await until(() => file.reads.length === 2);
  file.reads[1].give();
  await quiet();
  assert.deepEqual(lengths(run.socket), []);
  file.reads[0].give();
  await quiet();
  assert.deepEqual(lengths(run.socket), [10, 20]);
});

test("nothing is read without a credit, and never more than granted", async () => {
  const file = new ScriptedFile(1_000, { held: true });
  const run = stage().send(file, { chunksize: 100, hash: "none" });
  run.socket.open();
  await quiet();
  assert.equal(file.reads.length, 0);
  let granted = 0;
  const read = () => file.reads.reduce((sum, { length }) => sum + length, 0);
  for (const step of [1, 3, 0, 2, 1]) {
    for (let i = 0; i < step; i++) {
      run.socket.say({ ready: true });
      granted += 100;
    }
    await quiet();
    assert.ok(read() <= granted, `${read()} read, ${granted} granted`);
    for (const slice of file.reads) slice.give();
    await quiet();
    assert.equal(read(), granted);
    assert.equal(run.socket.chunks.length * 100, granted);
  }
});

test("two slices are ahead of the WebSocket, or 4 MiB where they are small", async () => {
  for (const [chunksize, ahead] of [
    [8 * MB, 2],
    [3 * MB, 2],
    [MB, 4],
    [65_536, 64],
  ]) {
    const file = new ScriptedFile(2 ** 40, { held: true });
    const run = stage().send(file, { chunksize, hash: "none" });
    run.socket.open();
    for (let i = 0; i < 200; i++) run.socket.say({ ready: true });
    await quiet();
    assert.equal(file.reads.length, ahead);
    file.reads[0].give();
    await quiet();
    assert.equal(file.reads.length, ahead + 1, "one sent, one more read");
  }
});

test("a WebSocket that does not drain is given 8 MiB and one chunk, no more", async () => {
  const page = stage();
  const file = new ScriptedFile(2 ** 40);
  const run = page.send(file, { chunksize: MB, hash: "none", timeout: Infinity });
  run.socket.fills = true;
  run.socket.open();
  for (let i = 0; i < 100; i++) run.socket.say({ ready: true });
  await quiet();
  assert.equal(run.socket.chunks.length, 8);
  assert.equal(file.reads.length, 12);
  page.clock.advance(10_000);
  await quiet();
  assert.equal(run.socket.chunks.length, 8);
  run.socket.bufferedAmount = 6 * MB;
  page.clock.advance(20);
  await quiet();
  assert.equal(run.socket.chunks.length, 10, "it looks again by itself");
});

test("finished waits for the last chunk, not for its hash only", async () => {
  const page = stage();
  const run = page.send(new ScriptedFile(9 * MB), { chunksize: 4 * MB, hash: "none" });
  run.socket.fills = true;
  run.socket.open();
  for (let i = 0; i < 4; i++) run.socket.say({ ready: true });
  await quiet();
  assert.equal(run.socket.chunks.length, 2);
  assert.equal(run.socket.finished.length, 0);
  run.socket.bufferedAmount = 0;
  page.clock.advance(20);
  assert.equal(run.socket.chunks.length, 3);
  assert.equal(run.socket.finished.length, 1);
});

test("an end while the WebSocket is full leaves no timer", async () => {
  const page = stage();
  const run = page.send(new ScriptedFile(20 * MB), { chunksize: 8 * MB, hash: "none" });
  run.socket.fills = true;
  run.socket.open();
  run.socket.say({ ready: true }, { ready: true });
  await quiet();
  run.abort();
  run.socket.drop(1000);
  assert.equal(page.clock.open, 0);
});

test("finished waits for the last byte, with credits to spare", async () => {
  const file = new ScriptedFile(20, { held: true });
  const run = stage().send(file, { chunksize: 10, hash: "none" });
  run.socket.open();
  for (let i = 0; i < 4; i++) run.socket.say({ ready: true });
  await quiet();
  file.reads[0].give();
  await quiet();
  assert.deepEqual(lengths(run.socket), [10]);
  assert.equal(run.socket.finished.length, 0);
  file.reads[1].give();
  await quiet();
  assert.deepEqual(run.socket.sent.slice(2), [
    Buffer.alloc(10),
    { finished: true },
    { finished: true },
  ]);
});

test("a server with more open ready signals than chunks could need is given up", async () => {
  const run = stage().send(new ScriptedFile(2 ** 40, { held: true }), { hash: "none" });
  run.socket.open();
  for (let i = 0; i < 2_000; i++) run.socket.say({ ready: true });
  assert.equal(run.log[0][0], "onfailure");
  assert.equal(run.log[0][1][0].code, "bad_message");
});

const CHUNK = 1_000;
const SIZES = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 70_001];

for (const worker of [null, "runs"]) {
  for (const [hash, node] of [
    ["sha1", "sha1"],
    ["SHA256", "sha256"],
    ["sha512", "sha512"],
    ["blake2b", "blake2b512"],
  ]) {
    test(`${hash} ${worker ? "in the Worker" : "on the page"} is that of node:crypto`, async () => {
      const page = stage({ worker });
      for (const size of SIZES) {
        const bytes = pattern(size);
        const run = page.send(fileOf(bytes), { hash, chunksize: CHUNK });
        await serve(run.socket);
        const value = createHash(node).update(bytes).digest("hex");
        const claim = { type: hash.toLowerCase(), value };
        assert.deepEqual(run.socket.finished, [{ finished: true, hash: claim }]);
        assert.deepEqual(Buffer.concat(run.socket.chunks), bytes);
        assert.deepEqual((await run.done).hash, claim);
      }
      assert.equal(page.workers.length, worker ? SIZES.length : 0);
      assert.equal(page.copied, 0, "the Worker gives its bytes away");
      assert.ok(
        page.workers.every(({ ended }) => ended),
        "a Worker was left running",
      );
      assert.equal(page.scripts.length, worker ? 0 : 1, "the page loads the library once");
    });
  }
}

test("two uploads at once do not mix their hashes", async () => {
  for (const worker of [null, "runs"]) {
    const page = stage({ worker });
    const texts = ["first", "second"];
    const runs = texts.map((text) => page.send(fileOf(text), { chunksize: 2 }));
    await Promise.all(runs.map(({ socket }) => serve(socket)));
    for (const [i, run] of runs.entries()) {
      const { hash } = await run.done;
      assert.equal(hash.value, createHash("sha1").update(texts[i]).digest("hex"));
    }
  }
});

/** Let every Blob read in order of `delays`, counted in turns of the event loop. */
async function withSlowReads(delays, body) {
  const real = Blob.prototype.arrayBuffer;
  const restore = replace("stream", noStreams);
  Blob.prototype.arrayBuffer = async function () {
    for (let turns = delays.shift() ?? 0; turns > 0; turns--) await new Promise(setImmediate);
    return real.call(this);
  };
  try {
    await body();
  } finally {
    Blob.prototype.arrayBuffer = real;
    restore();
  }
}

for (const worker of [null, "runs"]) {
  test(`slow reads are hashed in order ${worker ? "in the Worker" : "on the page"}`, async () => {
    await withSlowReads([50, 0, 20], async () => {
      const bytes = pattern(300);
      const run = stage({ worker }).send(fileOf(bytes), { chunksize: 100 });
      run.socket.open();
      for (let i = 0; i < 4; i++) run.socket.say({ ready: true });
      await until(() => run.log.length === 3 && run.socket.finished.length === 1);
      assert.deepEqual(Buffer.concat(run.socket.chunks), bytes);
      const value = createHash("sha1").update(bytes).digest("hex");
      assert.equal(run.socket.finished[0].hash.value, value);
    });
  });
}

test("hash none: no Worker, no library, no hash", async () => {
  const page = stage({ worker: "runs" });
  const run = page.send(fileOf("abc"), { hash: "none" });
  await serve(run.socket);
  assert.deepEqual(run.socket.finished, [{ finished: true }]);
  assert.deepEqual([page.workers.length, page.scripts.length], [0, 0]);
  assert.equal((await run.done).hash, null);
});

for (const worker of ["throws", "fails"]) {
  test(`a Worker that ${worker} is replaced by the page's thread`, async () => {
    const page = stage({ worker });
    const run = page.send(fileOf("abc"));
    await serve(run.socket);
    assert.deepEqual(page.scripts, [`${BASE}vendor/hash-wasm/sha1.umd.min.js`]);
    assert.equal((await run.done).hash.value, "a9993e364706816aba3e25717850c26c9cd0d89d");
  });
}

test("without any library a hash that nobody asked for is left out", async () => {
  const page = stage({ script: false });
  const run = page.send(fileOf("abc"));
  await serve(run.socket);
  assert.deepEqual(run.socket.finished, [{ finished: true }]);
});

test("without any library a hash that was asked for is a failure", async () => {
  const page = stage({ script: false, worker: "throws" });
  const run = page.send(fileOf("abc"), { hash: "sha1" });
  run.socket.open();
  await until(() => run.log.length > 0);
  assert.equal(run.log[0][1][0].code, "hash_unavailable");
});

test("a Worker that dies in the middle ends the upload", async () => {
  const page = stage({ worker: "runs" });
  const run = page.send(fileOf(pattern(100)), { chunksize: 10 });
  run.socket.open();
  run.socket.say({ ready: true });
  await until(() => run.socket.chunks.length === 1);
  run.socket.say({ ready: true });
  page.workers[0].crash();
  await until(() => run.log.length === 2);
  assert.equal(run.log[1][1][0].code, "file_unreadable");
});

const gone = () => new DOMException("gone", "NotFoundError");
const noStreams = () => {
  throw new TypeError("no byte streams");
};

for (const [how, stream] of [
  ["by a stream", () => new ReadableStream({ type: "bytes", pull: () => Promise.reject(gone()) })],
  ["without byte streams", noStreams],
]) {
  test(`a Worker's read error reaches the page with its name: ${how}`, async () => {
    const restore = [replace("stream", stream), replace("arrayBuffer", () => Promise.reject(gone()))];
    try {
      const page = stage({ worker: "runs" });
      const run = page.send(fileOf(pattern(100)), { chunksize: 10 });
      run.socket.open();
      run.socket.say({ ready: true });
      await until(() => run.log.length === 1);
      assert.match(run.log[0][1][0].error, /NotFoundError/);
      assert.ok(page.workers[0].ended);
    } finally {
      for (const undo of restore) undo();
    }
  });
}

test("a file that gets shorter behind the stream's beginning is a failure", async () => {
  const { stream } = Blob.prototype;
  const short = () => stream.call(new Blob(["short"]));
  const restore = replace("stream", short);
  try {
    const run = stage({ worker: "runs" }).send(fileOf(pattern(100)), { chunksize: 10 });
    run.socket.open();
    run.socket.say({ ready: true });
    await until(() => run.log.length === 1);
    assert.equal(run.log[0][1][0].code, "file_unreadable");
    assert.deepEqual(run.socket.chunks, []);
  } finally {
    restore();
  }
});

test("a file that was changed while a stream read it is a failure at its end", async () => {
  const restore = replace("arrayBuffer", () => Promise.reject(gone()));
  try {
    const run = stage({ worker: "runs" }).send(fileOf(pattern(20)), { chunksize: 10 });
    run.socket.open();
    for (let i = 0; i < 3; i++) run.socket.say({ ready: true });
    await until(() => run.log.at(-1)?.[0] === "onfailure");
    assert.equal(run.log.at(-1)[1][0].code, "file_unreadable");
    assert.deepEqual(run.socket.finished, []);
  } finally {
    restore();
  }
});

test("buffers that were sent are read into again", async () => {
  const page = stage({ worker: "runs" });
  const bytes = pattern(50);
  const run = page.send(fileOf(bytes), { chunksize: 10 });
  await serve(run.socket);
  assert.deepEqual(Buffer.concat(run.socket.chunks), bytes);
  assert.ok(page.workers[0].received.some(({ buffer }) => buffer instanceof ArrayBuffer));
});

/** Replace a method of each Blob; returns a function that undoes it. */
function replace(method, by) {
  const real = Blob.prototype[method];
  Blob.prototype[method] = by;
  return () => {
    Blob.prototype[method] = real;
  };
}

test("abort while the Worker starts leaves nothing running", async () => {
  const page = stage({ worker: "runs" });
  const run = page.send(fileOf("abc"));
  run.abort();
  await quiet();
  assert.ok(page.workers[0].ended);
  assert.equal(page.scripts.length, 0);
});

test("worker: another place, or none", async () => {
  const page = stage({ worker: "runs" });
  page.send(fileOf("abc"), { worker: false });
  assert.equal(page.workers.length, 0);
  page.send(fileOf("abc"), { worker: `${BASE}hash_worker.js` });
  assert.equal(page.workers[0].url, `${BASE}hash_worker.js`);
});
