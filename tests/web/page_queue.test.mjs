// The queue of the page, on the client: a few at a time, in order, each to its end.

import assert from "node:assert/strict";
import { test } from "node:test";
import { ScriptedFile, WEB, quiet, stage, until } from "./stage.mjs";

const { Queue } = await import(`${WEB}page_queue.js`);

const files = (count, size = 10) =>
  Array.from({ length: count }, (_, index) => new ScriptedFile(size, { name: `f${index}` }));

/** A queue on the client, whose server is played by hand, one connection a file. */
function scripted({ largest = 100, ...more } = {}) {
  const page = stage();
  const changes = [];
  const onchange = ({ name, state }) => changes.push(`${name} ${state}`);
  const { uploadAll } = page;
  const queue = new Queue({ uploadAll, url: "ws://host/", largest, onchange, ...more });
  return { page, queue, changes };
}

const states = ({ uploads }) => uploads.map(({ state }) => state).join(" ");

/** Let the server grant everything; the upload waits for its `close` then. */
async function receive(socket) {
  socket.open();
  socket.say({ ready: true }, { ready: true });
  await until(() => socket.finished.length === 1);
}

async function store(socket, close = { close: true }) {
  await receive(socket);
  socket.say(close);
  await quiet();
}

async function refuse(socket, code, error = "No.") {
  if (socket.readyState === 0) socket.open();
  socket.say({ error, fatal: true, code });
  await quiet();
}

const sentNames = ({ sockets }) =>
  sockets.map(({ sent }) => sent[0]?.name).filter((name) => name !== undefined);

test("three are sent at a time, in the order chosen", async () => {
  const { page, queue } = scripted();
  queue.add(files(5));
  assert.equal(states(queue), "sending sending sending waiting waiting");
  await store(page.sockets[1]);
  for (const index of [0, 2, 3]) page.sockets[index].open();
  assert.deepEqual(sentNames(page), ["f0", "f1", "f2", "f3"]);
  assert.equal(states(queue), "sending stored sending sending waiting");
});

test("an upload goes from waiting over sending and checking to stored", async () => {
  const { page, queue, changes } = scripted();
  const [upload] = queue.add(files(1));
  assert.ok(queue.active);
  await receive(page.sockets[0]);
  page.clock.advance(200);
  assert.deepEqual([upload.state, upload.sent], ["checking", 10]);
  page.sockets[0].say({ close: true, name: "f0 (1)" });
  await quiet();
  const way = changes.filter((change, index) => change !== changes[index - 1]);
  assert.deepEqual(
    way,
    ["waiting", "sending", "checking", "stored"].map((state) => `f0 ${state}`),
  );
  assert.equal(upload.receipt.name, "f0 (1)");
  assert.ok(!queue.active);
});

test("what is above the limit fails at once, and is never sent", () => {
  const { page, queue } = scripted({ largest: 9 });
  const [upload] = queue.add(files(1));
  assert.deepEqual([upload.state, upload.error.code], ["failed", "too_large"]);
  queue.retry([upload]);
  assert.equal(upload.state, "failed");
  assert.deepEqual(page.sockets, []);
  assert.equal(scripted({ largest: 10 }).queue.add(files(1))[0].state, "sending");
});

test("files above the limit keep their place among the others", () => {
  const { queue } = scripted();
  const chosen = [...files(1), new ScriptedFile(101, { name: "large" }), ...files(1)];
  const added = queue.add(chosen);
  assert.deepEqual(added.map(({ file }) => file), chosen);
  assert.equal(states(queue), "sending failed sending");
});

test("a failure keeps its reason, and a retry begins anew", async () => {
  const { page, queue } = scripted();
  const [upload] = queue.add(files(1));
  await refuse(page.sockets[0], "no_space", "Full.");
  assert.deepEqual([upload.state, upload.rate], ["failed", 0]);
  assert.deepEqual([upload.error.code, upload.error.reason], ["no_space", "Full."]);
  queue.retry([upload]);
  assert.deepEqual([upload.state, upload.error, upload.sent], ["sending", null, 0]);
  queue.retry([upload]); // pressed twice
  assert.equal(page.sockets.length, 2);
});

test("a retry comes before what still waits", async () => {
  const { page, queue } = scripted();
  queue.add(files(5));
  await refuse(page.sockets[0], "x");
  queue.retry([queue.uploads[0]]);
  await store(page.sockets[1]);
  for (const index of [2, 3, 4]) page.sockets[index].open();
  assert.deepEqual(sentNames(page), ["f0", "f1", "f2", "f3", "f0"]);
});

test("what waits is cancelled without being sent, and what runs is aborted", async () => {
  const { page, queue } = scripted();
  queue.add(files(5));
  queue.cancel(queue.uploads);
  await quiet();
  assert.equal(states(queue), "cancelled cancelled cancelled cancelled cancelled");
  assert.equal(page.sockets.length, 3);
  assert.ok(!queue.active);
  assert.ok(queue.uploads.every(({ mayBeStored }) => !mayBeStored));
});

test("a cancellation after the last byte may come too late, and says so", async () => {
  const { page, queue } = scripted();
  const [upload] = queue.add(files(1));
  await receive(page.sockets[0]);
  queue.cancel([upload]);
  await quiet();
  assert.deepEqual([upload.state, upload.mayBeStored], ["cancelled", true]);
});

test("while nobody is known nothing is sent, and what is refused waits again", async () => {
  let known = null;
  const refused = [];
  const { page, queue } = scripted({
    credential: () => known,
    onrefused() {
      refused.push(known);
      known = null;
    },
  });
  queue.add(files(2));
  assert.equal(states(queue), "waiting waiting");
  assert.ok(queue.active);
  assert.equal(page.sockets.length, 0);
  known = "a token";
  queue.start();
  page.sockets.forEach((socket) => socket.open());
  assert.deepEqual(sentNames(page), ["f0", "f1"]);
  for (const socket of [...page.sockets]) await refuse(socket, "unauthorized");
  assert.deepEqual(refused, ["a token", null]);
  assert.equal(states(queue), "waiting waiting");
  assert.equal(page.sockets.length, 2);
  queue.cancel([queue.uploads[0]]);
  assert.equal(states(queue), "cancelled waiting");
});

test("what is refused after another token was given is sent with that", async () => {
  let known = "old";
  const { page, queue } = scripted({ credential: () => known });
  queue.add(files(1));
  page.sockets[0].open();
  known = "new";
  await refuse(page.sockets[0], "unauthorized");
  assert.equal(page.sockets.length, 2);
  await refuse(page.sockets[1], "unauthorized");
  assert.deepEqual(page.sockets.map(({ sent }) => sent[0].token), ["old", "new"]);
  assert.equal(page.sockets.length, 2);
  assert.equal(states(queue), "failed");
});

test("what is refused goes on with a renewed credential, and has not failed", async () => {
  const olds = [];
  const renew = async (old) => {
    olds.push(old);
    return "new";
  };
  const { page, queue, changes } = scripted({ credential: () => "old", renew });
  queue.add(files(1));
  await refuse(page.sockets[0], "unauthorized");
  assert.equal(page.sockets.length, 2);
  await store(page.sockets[1]);
  assert.deepEqual(page.sockets.map(({ sent }) => sent[0].token), ["old", "new"]);
  assert.deepEqual(olds, ["old"]);
  assert.equal(states(queue), "stored");
  assert.ok(!changes.includes("f0 failed"));
});

test("if there is no renewed credential, what is refused waits for one", async () => {
  let known = "old";
  const onrefused = () => {
    known = null;
  };
  const { page, queue } = scripted({ credential: () => known, renew: async () => null, onrefused });
  queue.add(files(4));
  for (const socket of [...page.sockets]) await refuse(socket, "unauthorized");
  for (const socket of page.sockets.slice(3)) socket.open();
  await quiet();
  assert.equal(known, null);
  assert.equal(states(queue), "waiting waiting waiting waiting");
  assert.equal(page.sockets.flatMap(({ sent }) => sent.filter(({ name }) => name)).length, 3);
});

test("where it is not known what else to show, a refusal is a failure", async () => {
  const { page, queue } = scripted();
  queue.add(files(1));
  await refuse(page.sockets[0], "unauthorized", "Not you.");
  assert.equal(states(queue), "failed");
  assert.equal(queue.uploads[0].error.reason, "Not you.");
});

test("the states are counted, and which of the failed may be retried", async () => {
  const { page, queue } = scripted();
  queue.add([...files(4), new ScriptedFile(101, { name: "large" })]);
  await refuse(page.sockets[0], "no_space");
  await store(page.sockets[1]);
  queue.cancel([queue.uploads[2]]);
  const none = { waiting: 0, checking: 0, interrupted: 0, paused: 0, skipped: 0, replaced: 0 };
  const some = { sending: 1, stored: 1, failed: 2, cancelled: 1 };
  const may = { mayPause: 1, mayClear: 2, mayRetry: 1 };
  assert.deepEqual(queue.count, { ...none, ...some, ...may });
  queue.retryFailed();
  assert.equal(states(queue), "sending stored cancelled sending failed");
});

test("what is stored or cancelled can be cleared, what failed stays", async () => {
  const { page, queue } = scripted();
  queue.add(files(4));
  const [failed, stored, cancelled, running] = queue.uploads;
  await refuse(page.sockets[0], "no_space");
  await store(page.sockets[1]);
  queue.cancel([cancelled]);
  assert.deepEqual(queue.clear(), [stored, cancelled]);
  assert.deepEqual(queue.uploads, [failed, running]);
  assert.deepEqual([queue.progress.files, queue.progress.size], [1, 10]);
  assert.deepEqual(queue.clear(), []);
});

test("what is paused waits until it is resumed", async () => {
  const { page, queue } = scripted();
  queue.add(files(2));
  queue.pause([queue.uploads[0]]);
  assert.equal(states(queue), "paused sending");
  assert.ok(queue.active);
  await store(page.sockets[1]);
  queue.resume(queue.uploads);
  assert.equal(states(queue), "sending stored");
});

test("an outage is told, but not while nothing needs a connection", async () => {
  let told = 0;
  const { page, queue } = scripted({ onoutage: () => (told += 1) });
  queue.add(files(1));
  assert.equal(queue.outage, null);
  page.sockets[0].break();
  await quiet();
  assert.equal(told, 1);
  assert.equal(queue.outage.error.code, "connection_failed");
  assert.ok(queue.outage.at > 0);
  queue.pause(queue.uploads);
  assert.equal(queue.outage, null);
  assert.equal(states(queue), "paused");
});
