// Files that the server has already are asked about, and not sent (section 10 of the protocol).

import assert from "node:assert/strict";
import { test } from "node:test";
import { BOTH, fault, next, states } from "./resuming.mjs";
import { ScriptedFile, assertOver, quiet, stage, until } from "./stage.mjs";

const ASK = { ...BOTH, can: ["resume", "next", "ask"] };
const OPTIONS = { url: "ws://host/", connections: 1, hash: "none", skipExisting: true };

const files = (count, size = 10) =>
  Array.from({ length: count }, (_, index) => {
    const file = new ScriptedFile(size, { name: `f${index}` });
    return Object.assign(file, { lastModified: 1_000 + index, webkitRelativePath: `june/f${index}` });
  });

const asked = ({ sent }) => sent.filter((each) => each.ask);
const named = ({ sent }) => sent.filter(({ name }) => name).map(({ name }) => name);
const abandoned = ({ sent }) => sent.filter((each) => each.abandon).length;

/** Open a connection, and let the server agree with the metadata of its file 0. */
async function agree(socket, more) {
  socket.open();
  await quiet();
  socket.say({ ready: true, ...ASK, offset: 0, ...more });
  await quiet();
}

/** Answer the question that the client has asked last. */
async function answer(socket, ...held) {
  const { n } = asked(socket).at(-1);
  socket.say({ held, n });
  await quiet();
}

/** Take file 0 to its end. */
async function storeFirst(socket) {
  socket.say({ ready: true });
  await until(() => socket.finished.length > 0, "finished");
  socket.say({ close: true });
  await quiet();
}

/** The server confirms files up to this number. */
async function storeUpTo(socket, last) {
  for (let file = 1; file <= last; file++) socket.say({ close: true, file });
  await quiet();
}

function start(chosen, options) {
  const page = stage();
  const uploads = page.uploadAll({ ...OPTIONS, files: chosen, ...options });
  return { page, uploads, socket: page.sockets[0] };
}

test("what the server has is not sent, file 0 included", async () => {
  const { page, uploads, socket } = start(files(4));
  await agree(socket);
  const [{ ask, n }] = asked(socket);
  assert.equal(typeof n, "number");
  const entry = (index) => ({ name: `f${index}`, folder: "june", size: 10, modified: 1_000 + index });
  assert.deepEqual(ask, [0, 1, 2, 3].map(entry));
  await answer(socket, 0, 1, 3);
  assert.equal(states(uploads), "skipped skipped sending skipped");
  assert.equal(abandoned(socket), 1);
  assert.equal(socket.chunks.length, 0);
  socket.say(fault("abandoned", { next: true }));
  await quiet();
  assert.deepEqual(named(socket), ["f0", "f2"]);
  socket.say({ close: true, file: 1 });
  const results = await uploads.done;
  const outcomes = results.map(({ outcome }) => outcome);
  assert.deepEqual(outcomes, ["skipped", "skipped", "stored", "skipped"]);
  assert.deepEqual([results[0].name, results[0].size, results[0].hash], ["f0", 10, null]);
  const { files: counted, filesEnded, size, sent, ratio } = uploads.progress;
  assert.deepEqual([counted, filesEnded, size, sent, ratio], [1, 1, 10, 10, 1]);
  assert.equal(page.sockets.length, 1);
  assertOver(page);
});

test("file 0 is sent if the server does not have it, and only after the answer", async () => {
  const { uploads, socket } = start(files(2));
  await agree(socket);
  assert.equal(socket.chunks.length, 0);
  await answer(socket, 1);
  assert.equal(socket.chunks.length, 1);
  assert.equal(states(uploads), "sending skipped");
  await storeFirst(socket);
  assert.equal(states(uploads), "stored skipped");
  assert.deepEqual(named(socket), ["f0"]);
  assert.equal(socket.closes.length, 1);
});

test("a question has at most 256 files, and one is asked at a time", async () => {
  const { uploads, socket } = start(files(600));
  await agree(socket);
  for (const count of [256, 256, 88]) {
    assert.equal(asked(socket).at(-1).ask.length, count);
    const before = asked(socket).length;
    socket.say({ last: false });
    await quiet();
    assert.equal(asked(socket).length, before);
    await answer(socket, ...Array(count).keys());
    socket.say(fault("abandoned", { next: true }));
    await quiet();
  }
  assert.equal(asked(socket).length, 3);
  assert.ok(uploads.files.every(({ state }) => state === "skipped"));
  assert.deepEqual(named(socket), ["f0"]);
});

test("a question is a signal that every server accepts", async () => {
  const chosen = files(256).map((file) => ({ file, folder: "é".repeat(100) }));
  const { uploads, socket } = start(chosen);
  await agree(socket);
  for (let rest = 256; rest > 0; ) {
    const { ask } = asked(socket).at(-1);
    assert.ok(Buffer.byteLength(JSON.stringify(asked(socket).at(-1))) <= 16 * 1024);
    assert.ok(ask.length > 50 || ask.length === rest);
    rest -= ask.length;
    await answer(socket, ...ask.keys());
    socket.say(fault("abandoned", { next: true }));
    await quiet();
  }
  assert.ok(uploads.files.every(({ state }) => state === "skipped"));
});

test("what the server does not have is sent before more is asked", async () => {
  const { uploads, socket } = start(files(300), { connections: 1 });
  await agree(socket);
  await answer(socket, ...Array(254).keys());
  socket.say(fault("abandoned", { next: true }));
  await quiet();
  assert.deepEqual(named(socket), ["f0", "f254", "f255"]);
  assert.equal(asked(socket).length, 2, "the rest is asked about behind them");
  await storeUpTo(socket, 2);
  await answer(socket, ...Array(44).keys());
  const { length } = uploads.files.filter(({ state }) => state === "skipped");
  assert.equal(length, 298);
  assert.ok(!uploads.active);
});

test("two connections ask about different files, and one waits for the answer of the other", async () => {
  const { page, uploads } = start(files(6, 3_000_000), { connections: 2 });
  const [one, other] = page.sockets;
  await agree(one);
  await agree(other);
  const names = (socket) => asked(socket)[0].ask.map(({ name }) => name);
  assert.deepEqual(names(one), ["f0", "f2", "f3", "f4", "f5"]);
  assert.deepEqual(names(other), ["f1"]);
  await answer(other, 0);
  other.say(fault("abandoned", { next: true }));
  await quiet();
  assert.equal(other.closes.length, 0, "files may come");
  await answer(one, 0);
  await quiet();
  one.say(fault("abandoned", { next: true }));
  await quiet();
  assert.deepEqual([named(one), named(other)], [["f0", "f3"], ["f1", "f2"]]);
  uploads.abort();
});

test("nothing is asked unless both sides want it", async () => {
  const classic = start(files(2), { skipExisting: false });
  await agree(classic.socket, { can: ["resume", "next"] });
  assert.deepEqual(classic.socket.sent[0].can, ["resume", "next"]);
  assert.equal(classic.socket.chunks.length, 1);
  const old = start(files(2));
  await agree(old.socket, { can: ["resume", "next"] });
  assert.deepEqual(old.socket.sent[0].can, ["resume", "next", "ask"]);
  await storeFirst(old.socket);
  await storeUpTo(old.socket, 1);
  assert.equal(states(old.uploads), "stored stored");
  assert.equal(asked(old.socket).length, 0);
});

test("a file without a time of modification is sent without a question", async () => {
  const { uploads, socket } = start([new ScriptedFile(10, { name: "a" }), ...files(1)]);
  await agree(socket);
  assert.deepEqual(asked(socket)[0].ask.map(({ name }) => name), ["f0"]);
  await answer(socket, 0);
  await storeFirst(socket);
  assert.equal(states(uploads), "stored skipped");
});

test("files of another token are not asked about on this connection", async () => {
  const [own, others] = files(2);
  const chosen = [{ file: own, token: "anna" }, { file: others, token: "ben" }];
  const { page, uploads, socket } = start(chosen);
  await agree(socket);
  assert.deepEqual(asked(socket)[0].ask.map(({ name }) => name), ["f0"]);
  await answer(socket, 0);
  socket.say(fault("abandoned", { next: true }));
  const second = await next(page);
  await agree(second);
  assert.equal(second.sent[0].token, "ben");
  assert.deepEqual(asked(second)[0].ask.map(({ name }) => name), ["f1"]);
  await answer(second, 0);
  assert.equal(states(uploads), "skipped skipped");
});

test("a connection that is lost before the answer asks again", async () => {
  const { page, uploads, socket } = start(files(3));
  await agree(socket);
  socket.drop();
  const second = await next(page);
  await agree(second);
  assert.equal(asked(second)[0].ask.length, 3);
  await answer(second, 0, 1, 2);
  assert.equal(states(uploads), "skipped skipped skipped");
  second.say(fault("abandoned", { next: true }));
  await quiet();
  assertOver(page);
});

test("what the server refuses to answer is sent", async () => {
  const { page, uploads, socket } = start(files(257));
  await agree(socket);
  await answer(socket, ...Array(256).keys());
  socket.say(fault("abandoned", { next: true }));
  await quiet();
  assert.equal(asked(socket).length, 2);
  socket.say(fault("bad_message"));
  const second = await next(page);
  await agree(second);
  assert.equal(asked(second).length, 0);
  await storeFirst(second);
  assert.equal(uploads.files[256].state, "stored");
});

for (const [what, held, n] of [
  ["of another number", [0], 9],
  ["with an index that was not asked", [5], 1],
  ["that is no list", true, 1],
]) {
  test(`an answer ${what} ends the connection`, async () => {
    const { page, socket } = start(files(2));
    await agree(socket);
    socket.say({ held, n });
    await quiet();
    assert.equal(socket.closes.length, 1);
    await next(page);
  });
}

test("what is paused or cancelled meanwhile stays so", async () => {
  const { uploads, socket } = start(files(4));
  await agree(socket);
  uploads.files[1].pause();
  uploads.files[2].abort();
  await answer(socket, 1, 2, 3);
  assert.equal(states(uploads), "sending paused cancelled skipped");
  await storeFirst(socket);
  uploads.files[1].resume();
  uploads.retry([uploads.files[2]]);
  await quiet();
});

test("what is resumed before the answer is not sent if the server has it", async () => {
  const { uploads, socket } = start(files(3));
  await agree(socket);
  uploads.files[1].pause();
  uploads.files[1].resume();
  await answer(socket, 0, 1, 2);
  assert.equal(states(uploads), "skipped skipped skipped");
  assert.deepEqual(named(socket), ["f0"]);
});

test("while files are held back the answer still counts", async () => {
  const { uploads, socket } = start(files(3));
  await agree(socket);
  uploads.hold();
  await answer(socket, 1);
  assert.equal(states(uploads), "sending skipped waiting");
  await storeFirst(socket);
  assert.equal(states(uploads), "stored skipped waiting");
});

test("an option of another value is refused", () => {
  const { uploadAll } = stage();
  const message = /skipExisting must be true, "modified" or false/;
  assert.throws(() => uploadAll({ ...OPTIONS, skipExisting: "size" }), { name: "TypeError", message });
});

test("a file that was there is replaced by one that is stored at its path", async () => {
  const { uploads, socket } = start(files(6));
  await agree(socket);
  const { n } = asked(socket).at(-1);
  socket.say({ held: [1, 2, 3], paths: ["x", "y", null], n });
  await storeFirst(socket);
  assert.match(states(uploads), /^stored skipped skipped skipped /);
  const paths = uploads.files.map(({ receipt }) => receipt?.path);
  assert.deepEqual(paths.slice(0, 4), [null, "x", "y", null]);
  await until(() => socket.finished.length > 2, "finished");
  socket.say({ close: true, file: 1, path: "x" });
  socket.say({ close: true, file: 2, path: "z" });
  await quiet();
  assert.equal(states(uploads), "stored replaced skipped skipped stored stored");
  assert.equal(uploads.files[1].receipt.outcome, "replaced");
  const { files: count, filesEnded } = uploads.progress;
  assert.deepEqual([count, filesEnded], [3, 3]);
});

test("all that are at one path are replaced", async () => {
  const { uploads, socket } = start(files(3));
  await agree(socket);
  const { n } = asked(socket).at(-1);
  socket.say({ held: [0, 1], paths: ["x", "x"], n });
  socket.say(fault("abandoned", { next: true }));
  await until(() => socket.finished.length > 0, "finished");
  socket.say({ close: true, file: 1, path: "x" });
  await quiet();
  assert.equal(states(uploads), "replaced replaced stored");
});

for (const paths of [["x"], "x", [1, {}], null]) {
  test(`paths ${JSON.stringify(paths)} of files that are there are not known`, async () => {
    const { uploads, socket } = start(files(3));
    await agree(socket);
    const { n } = asked(socket).at(-1);
    socket.say({ held: [1, 2], paths, n });
    await storeFirst(socket);
    assert.deepEqual(uploads.files.map(({ receipt }) => receipt.path), [null, null, null]);
  });
}
