// Many files: on a few connections, one after the other where the server agrees.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { ScriptedFile, bare, fileOf, pattern, quiet, stage, until } from "./stage.mjs";

const NEXT = { can: ["next"], next: 100, whole: 100, room: 1000 };
const OPTIONS = { url: "ws://host/", connections: 1, hash: "none" };

const files = (...sizes) =>
  sizes.map((size, index) => new ScriptedFile(size, { name: `f${index}` }));
const states = ({ files }) => files.map(({ state }) => state).join(" ");
const metadata = ({ sent }) => sent.filter(({ name }) => name).map(({ name }) => name);

/** Agree with the metadata of file 0, and store it. */
async function agree(socket, limits = NEXT) {
  socket.open();
  socket.say({ ready: true, ...limits }, { ready: true });
  await until(() => socket.finished.length > 0);
  socket.say({ close: true });
  await quiet();
}

test("small files go in one go, and answers come in any order", async () => {
  const page = stage();
  const contents = [pattern(50), pattern(60), Buffer.alloc(0), pattern(70)];
  const chosen = contents.map((bytes, index) => fileOf(bytes, `f${index}`));
  const uploads = page.uploadAll({ ...OPTIONS, hash: "sha1", files: chosen });
  const [socket] = page.sockets;
  await agree(socket);
  await until(() => socket.finished.length === 4);
  const hash = (bytes) => ({ type: "sha1", value: createHash("sha1").update(bytes).digest("hex") });
  assert.deepEqual(socket.sent[0].can, ["resume", "next"]);
  assert.ok(socket.sent.slice(1).every(({ upload, can }) => !upload && !can), "no keys for this one");
  assert.deepEqual(socket.sent.map((each) => (each.name ? bare(each) : each)), [
    { name: "f0", size: 50 },
    contents[0],
    { finished: true, hash: hash(contents[0]) },
    { name: "f1", size: 60 },
    contents[1],
    { finished: true, hash: hash(contents[1]) },
    { name: "f2", size: 0 },
    { finished: true, hash: hash(contents[2]) },
    { name: "f3", size: 70 },
    contents[3],
    { finished: true, hash: hash(contents[3]) },
  ]);
  socket.say({ close: true, file: 3 }, { close: true, file: 1, name: "f1 (1)" });
  socket.say({ close: true, file: 2 });
  const results = await uploads.done;
  assert.deepEqual(results.map(({ name }) => name), ["f0", "f1 (1)", "f2", "f3"]);
  assert.deepEqual(socket.closes, [1000]);
  assert.equal(page.sockets.length, 1);
  assert.equal(page.clock.open, 0);
});

test("a larger file waits for its ready behind the finished of the one before", async () => {
  const page = stage();
  page.uploadAll({ ...OPTIONS, files: files(10, 500, 20) });
  const [socket] = page.sockets;
  await agree(socket);
  assert.deepEqual(metadata(socket), ["f0", "f1"]);
  socket.say({ ready: true, chunksize: 400, file: 1 });
  await quiet();
  assert.equal(socket.chunks.at(-1).length, 400);
  socket.say({ ready: true, chunksize: 100, file: 1 });
  await quiet();
  assert.deepEqual(metadata(socket), ["f0", "f1", "f2"], "without the close of f1");
  assert.equal(socket.finished.length, 3);
});

test("without the extension each file has its connection, and no more are open at once", async () => {
  const page = stage();
  const uploads = page.uploadAll({ ...OPTIONS, connections: 2, files: files(1, 2, 3, 4) });
  for (let index = 0; index < 4; index++) {
    await until(() => page.sockets.length > index);
    assert.ok(page.sockets.filter(({ closes }) => closes.length === 0).length <= 2);
    await agree(page.sockets[index], {});
    assert.deepEqual(metadata(page.sockets[index]), [`f${index}`]);
  }
  assert.ok((await uploads.done).every(({ size }) => size > 0));
  assert.equal(page.sockets.length, 4);
});

test("an error about one file leaves the others alone", async () => {
  const page = stage();
  const errors = [];
  const onerror = ({ code }, { name }) => errors.push([code, name]);
  const uploads = page.uploadAll({ ...OPTIONS, files: files(1, 2, 3), onerror });
  const [socket] = page.sockets;
  await agree(socket);
  const fault = { error: "It is there.", fatal: true, code: "conflict", next: true, file: 1 };
  socket.say(fault, { close: true, file: 2 });
  const results = await uploads.done;
  assert.deepEqual([results[1].code, results[1].reason], ["conflict", "It is there."]);
  assert.deepEqual(errors, [["conflict", "f1"]]);
  assert.equal(states(uploads), "stored failed stored");
});

test("a connection that is lost: what was finished may be stored, the rest is sent again", async () => {
  const page = stage();
  const uploads = page.uploadAll({ ...OPTIONS, files: files(1, 2, 500, 4) });
  const [socket] = page.sockets;
  await agree(socket);
  socket.say({ ready: true, chunksize: 100, file: 2 });
  await quiet();
  socket.drop();
  await quiet();
  assert.equal(states(uploads), "stored failed waiting waiting");
  assert.deepEqual([uploads.files[1].error.code, uploads.files[1].mayBeStored], [
    "connection_lost",
    true,
  ]);
  page.clock.advance(500);
  await agree(page.sockets[1]);
  assert.deepEqual(metadata(page.sockets[1]), ["f2", "f3"]);
  assert.deepEqual(page.sockets[1].chunks[0].length, 500, "from its first byte");
  page.sockets[1].say({ close: true, file: 1 });
  await uploads.done;
  assert.equal(states(uploads), "stored failed stored stored");
});

test("an error that ends the connection fails its file; what was not finished goes on", async () => {
  const page = stage();
  const uploads = page.uploadAll({ ...OPTIONS, files: files(1, 2, 500) });
  await agree(page.sockets[0]);
  page.sockets[0].say({ error: "Out.", fatal: true, code: "internal", file: 1 });
  await quiet();
  assert.equal(states(uploads), "stored failed waiting");
  assert.equal(uploads.files[1].error.code, "internal");
  page.clock.advance(500);
  await agree(page.sockets[1]);
  await uploads.done;
  assert.equal(states(uploads), "stored failed stored");
});

test("behind last the rest goes to a new connection", async () => {
  const page = stage();
  const uploads = page.uploadAll({ ...OPTIONS, files: files(1, 500, 3) });
  await agree(page.sockets[0]);
  page.sockets[0].say({ last: true }, { ready: true, chunksize: 500, file: 1 });
  await quiet();
  assert.deepEqual(metadata(page.sockets[0]), ["f0", "f1"]);
  page.sockets[0].say({ close: true, file: 1 });
  await until(() => page.sockets.length === 2);
  assert.deepEqual(page.sockets[0].closes, [1000]);
  await agree(page.sockets[1]);
  await uploads.done;
  assert.equal(states(uploads), "stored stored stored");
});

test("a small file that cannot be read never begins, and fails alone", async () => {
  const page = stage();
  const chosen = files(1, 2, 3);
  chosen[1].arrayBuffer = () => Promise.reject(new DOMException("gone", "NotFoundError"));
  const uploads = page.uploadAll({ ...OPTIONS, files: chosen });
  await agree(page.sockets[0]);
  assert.deepEqual(metadata(page.sockets[0]), ["f0", "f2"]);
  page.sockets[0].say({ close: true, file: 1 });
  const results = await uploads.done;
  assert.equal(results[1].code, "file_unreadable");
  assert.equal(states(uploads), "stored failed stored");
});

test("files of a size that they do not have fail alone", async () => {
  const page = stage();
  const chosen = files(1, 2, 3);
  chosen[1].arrayBuffer = () => Promise.resolve(new ArrayBuffer(1));
  const uploads = page.uploadAll({ ...OPTIONS, files: chosen });
  await agree(page.sockets[0]);
  page.sockets[0].say({ close: true, file: 1 });
  assert.equal((await uploads.done)[1].code, "file_changed");
});

test("a file that is cancelled in the middle is abandoned, and the next one waits for that", async () => {
  const page = stage();
  const uploads = page.uploadAll({ ...OPTIONS, files: files(1, 500, 3) });
  const [socket] = page.sockets;
  await agree(socket);
  uploads.files[2].abort();
  uploads.retry([uploads.files[2]]);
  socket.say({ ready: true, chunksize: 100, file: 1 });
  await quiet();
  uploads.files[1].abort();
  assert.equal(states(uploads), "stored cancelled sending");
  assert.deepEqual(socket.sent.at(-1), { abandon: true, file: 1 });
  socket.say({ ready: true, chunksize: 100, file: 1 });
  await quiet();
  assert.deepEqual(socket.sent.at(-1), { abandon: true, file: 1 });
  socket.say({ error: "gone", fatal: true, code: "abandoned", next: true, file: 1 });
  await quiet();
  assert.deepEqual(metadata(socket), ["f0", "f1", "f2"]);
  socket.say({ close: true, file: 2 });
  assert.equal((await uploads.done)[1].code, "aborted");
});

test("a file that is cancelled when nothing else is sent closes the connection", async () => {
  const page = stage();
  const uploads = page.uploadAll({ ...OPTIONS, files: files(1, 500) });
  await agree(page.sockets[0]);
  uploads.files[1].abort();
  assert.deepEqual(page.sockets[0].closes, [1000]);
  await uploads.done;
});

test("a file that is cancelled behind its last byte may be stored", async () => {
  const page = stage();
  const uploads = page.uploadAll({ ...OPTIONS, files: files(1, 2, 3) });
  await agree(page.sockets[0]);
  uploads.files[1].abort();
  assert.deepEqual([uploads.files[1].state, uploads.files[1].mayBeStored], ["cancelled", true]);
  assert.match(uploads.files[1].error.reason, /may have stored/);
  page.sockets[0].say({ close: true, file: 1 }, { close: true, file: 2 });
  await uploads.done;
  assert.equal(states(uploads), "stored cancelled stored");
});

test("abort cancels all, by the signal too", async () => {
  for (const way of ["call", "signal", "before"]) {
    const page = stage();
    const controller = new AbortController();
    if (way === "before") controller.abort();
    const { signal } = controller;
    const uploads = page.uploadAll({ ...OPTIONS, files: files(1, 2, 3), signal });
    if (way === "call") uploads.abort();
    if (way === "signal") controller.abort();
    const results = await uploads.done;
    assert.deepEqual(results.map(({ code }) => code), ["aborted", "aborted", "aborted"]);
    await quiet();
    assert.ok(page.sockets.every(({ closes }) => closes.length === 1));
    assert.equal(page.clock.open, 0);
  }
});

test("files are added while others are sent, and after the end", async () => {
  const page = stage();
  const uploads = page.uploadAll({ ...OPTIONS, files: files(1) });
  const [added] = uploads.add([new ScriptedFile(2, { name: "more" })]);
  assert.equal(added.state, "waiting");
  await agree(page.sockets[0]);
  page.sockets[0].say({ close: true, file: 1 });
  assert.equal((await uploads.done).length, 2);
  uploads.add([{ file: new ScriptedFile(3), name: "later" }]);
  await agree(page.sockets[1]);
  assert.deepEqual((await uploads.done).map(({ name }) => name), ["f0", "more", "later"]);
});

test("mistakes in the page are exceptions, and nothing is added", () => {
  const page = stage();
  assert.throws(() => page.uploadAll({ ...OPTIONS, files: ["a"] }), TypeError);
  const uploads = page.uploadAll(OPTIONS);
  assert.throws(() => uploads.add([...files(1), new Blob(["no name"])]), TypeError);
  assert.deepEqual([uploads.files, page.sockets.length], [[], 0]);
});

test("while held no file begins, and those that were taken go back", async () => {
  const page = stage();
  const uploads = page.uploadAll({ ...OPTIONS, files: files(1, 500, 3) });
  await agree(page.sockets[0]);
  uploads.hold();
  page.sockets[0].say({ ready: true, chunksize: 500, file: 1 });
  await quiet();
  page.sockets[0].say({ close: true, file: 1 });
  await quiet();
  assert.equal(states(uploads), "stored stored waiting");
  assert.deepEqual(page.sockets[0].closes, [1000]);
  uploads.release();
  await agree(page.sockets[1]);
  await uploads.done;
});

test("the token of each file is asked for when it begins", async () => {
  const page = stage();
  let count = 0;
  const token = ({ name }) => `${name}-${++count}`;
  page.uploadAll({ ...OPTIONS, files: files(1, 2), token });
  assert.equal(count, 0);
  await agree(page.sockets[0]);
  const tokens = page.sockets[0].sent.map(({ token }) => token).filter(Boolean);
  assert.deepEqual(tokens, ["f0-1", "f1-2"]);
});

for (const token of ["wrong", undefined]) {
  test(`one refusal of the token ${token} is that of all files that wait with it`, async () => {
    const page = stage();
    const chosen = [...files(1, 2, 3), { file: new ScriptedFile(4, { name: "own" }), token: "own" }];
    const uploads = page.uploadAll({ ...OPTIONS, files: chosen, token });
    page.sockets[0].open();
    page.sockets[0].say({ error: "No.", fatal: true, code: "unauthorized" });
    await until(() => page.sockets.length === 2);
    assert.equal(states(uploads), "failed failed failed sending");
    await agree(page.sockets[1]);
    const results = await uploads.done;
    assert.deepEqual(metadata(page.sockets[1]), ["own"]);
    assert.ok(results.slice(0, 3).every((each) => each === results[0]));
    assert.deepEqual([results[0].code, page.sockets.length], ["unauthorized", 2]);
    uploads.retry(uploads.files.slice(0, 1));
    await agree(page.sockets[2]);
    assert.equal((await uploads.done)[0].size, 1);
  });
}

test("a function is asked for another token after a refusal", async () => {
  const page = stage();
  const tokens = ["wrong", "right", "other"];
  const uploads = page.uploadAll({ ...OPTIONS, files: files(1, 2), token: () => tokens.shift() });
  page.sockets[0].open();
  page.sockets[0].say({ error: "No.", fatal: true, code: "unauthorized" });
  await until(() => page.sockets.length === 2);
  await agree(page.sockets[1]);
  page.sockets[1].say({ close: true, file: 1 });
  await uploads.done;
  assert.equal(states(uploads), "stored stored");
  const sent = page.sockets.flatMap((socket) => socket.sent.filter(({ name }) => name));
  assert.deepEqual(sent.map(({ name, token }) => `${name} ${token}`), ["f0 wrong", "f0 right", "f1 other"]);
});

test("connections are an integer from 1 to 16", () => {
  const page = stage();
  for (const connections of [0, 17, 99, 1.5, "3", null, NaN]) {
    assert.throws(() => page.uploadAll({ ...OPTIONS, files: files(1), connections }), TypeError);
  }
  assert.equal(page.sockets.length, 0);
  for (const connections of [1, 16]) page.uploadAll({ ...OPTIONS, connections });
});

test("files above maxSize fail and are not sent", async () => {
  const page = stage();
  const uploads = page.uploadAll({ ...OPTIONS, files: files(1, 11), maxSize: 10 });
  await agree(page.sockets[0]);
  assert.equal((await uploads.done)[1].code, "too_large");
  assert.deepEqual(metadata(page.sockets[0]), ["f0"]);
});

test("the progress counts what has left the browser, and the handler is told of each file", async () => {
  const page = stage();
  const told = [];
  const onfile = ({ name, state }) => told.push(`${name} ${state}`);
  const uploads = page.uploadAll({ ...OPTIONS, files: files(10, 500), onfile });
  const begin = { sent: 0, size: 510, ratio: 0, rate: 0, files: 2, filesEnded: 0 };
  assert.deepEqual(uploads.progress, { ...begin, secondsLeft: null });
  const [socket] = page.sockets;
  await agree(socket);
  assert.equal(uploads.progress.sent, 10);
  socket.fills = true;
  socket.say({ ready: true, chunksize: 400, file: 1 });
  await quiet();
  socket.bufferedAmount = 100;
  page.clock.advance(1_000);
  assert.equal(uploads.files[1].sent, 300);
  const { sent, rate, secondsLeft } = uploads.progress;
  assert.deepEqual([sent, rate], [310, 310]);
  const file = 131_072; // it takes as long as so many bytes
  assert.equal(secondsLeft, (200 + file) / (310 + file));
  uploads.hold();
  assert.equal(uploads.progress.secondsLeft, null); // nobody knows when the files go on
  uploads.release();
  socket.bufferedAmount = 0;
  socket.say({ ready: true, chunksize: 100, file: 1 });
  await quiet();
  socket.say({ close: true, file: 1 });
  await uploads.done;
  assert.equal(uploads.progress.ratio, 1);
  for (const name of ["f0", "f1"]) {
    const way = ["waiting", "sending", "checking", "stored"].map((state) => `${name} ${state}`);
    const own = told.filter((each) => each.startsWith(name));
    assert.deepEqual(own.filter((each, index) => each !== own[index - 1]), way);
  }
});

test("the iterator gives each file once it has ended", async () => {
  const page = stage();
  const uploads = page.uploadAll({ ...OPTIONS, files: files(1, 2, 3) });
  const ended = [];
  const reading = (async () => {
    for await (const { name, state } of uploads) ended.push(`${name} ${state}`);
  })();
  await agree(page.sockets[0]);
  page.sockets[0].say({ close: true, file: 2 }, { close: true, file: 1 });
  await reading;
  assert.deepEqual(ended, ["f0 stored", "f2 stored", "f1 stored"]);
});

test("at most 4 MiB of files are read ahead of what is sent, and at most 64 files", async () => {
  const MiB = 2 ** 20;
  for (const [size, ahead] of [
    [MiB, 4],
    [10, 64],
  ]) {
    const page = stage();
    const chosen = files(1, 500, ...Array(200).fill(size));
    let open = 0;
    for (const file of chosen) {
      file.arrayBuffer = () => {
        open += 1;
        return Promise.resolve(new ArrayBuffer(file.size));
      };
    }
    page.uploadAll({ ...OPTIONS, files: chosen });
    await agree(page.sockets[0]); // f1 waits for its ready, and the others behind it
    assert.equal(open - 2, size === MiB ? ahead - 1 : ahead, "with the rest of f1");
  }
});

test("a silent server is given up, and what was not finished goes on", async () => {
  const page = stage();
  const uploads = page.uploadAll({ ...OPTIONS, files: files(1, 500, 3), timeout: 5_000 });
  await agree(page.sockets[0]);
  page.clock.advance(6_000);
  await quiet();
  assert.equal(states(uploads), "stored sending waiting");
  assert.equal(page.sockets.length, 2);
});

for (const limits of [{ next: 0.5 }, { next: true }, { next: "7" }, { whole: 1000, room: 5 }]) {
  const name = "limits that permit no file leave the others to connections of their own";
  test(`${name}: ${JSON.stringify(limits)}`, async () => {
    const page = stage();
    const uploads = page.uploadAll({ ...OPTIONS, files: files(10, 20, 30) });
    for (let number = 0; number < 3; number++) {
      await until(() => page.sockets.length > number, "a connection without any wait");
      await agree(page.sockets[number], { ...NEXT, ...limits });
    }
    await uploads.done;
    assert.equal(states(uploads), "stored stored stored");
    assert.equal(page.clock.now, 0);
    assert.equal(page.clock.open, 0);
  });
}
