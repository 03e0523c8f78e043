// The queue of the page: a few at a time, in order, each to its end.

import assert from "node:assert/strict";
import { test } from "node:test";
import { WEB } from "./stage.mjs";

const { Queue } = await import(`${WEB}page_queue.js`);

const settled = () => new Promise((resolve) => setImmediate(resolve));
const files = (count, size = 10) =>
  Array.from({ length: count }, (_, index) => ({ name: `f${index}`, size }));

/** A queue whose uploads are ended by hand. */
function scripted(largest = 100) {
  const sent = [];
  const changes = [];
  const send = (file, onprogress) => {
    const { promise, resolve, reject } = withResolvers();
    const abort = () => reject({ code: "aborted", reason: "The upload was cancelled." });
    sent.push({ name: file.name, onprogress, resolve, reject });
    return { abort, then: (...handlers) => promise.then(...handlers) };
  };
  const onchange = ({ name, state }) => changes.push(`${name} ${state}`);
  return { queue: new Queue({ send, largest, onchange }), sent, changes };
}

function withResolvers() {
  const made = {};
  made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }));
  return made;
}

const states = ({ uploads }) => uploads.map(({ state }) => state).join(" ");

test("three are sent at a time, in the order chosen", async () => {
  const { queue, sent } = scripted();
  queue.add(files(5));
  assert.equal(states(queue), "sending sending sending waiting waiting");
  sent[1].resolve({ name: "f1", hash: {} });
  await settled();
  assert.deepEqual(sent.map(({ name }) => name), ["f0", "f1", "f2", "f3"]);
  assert.equal(states(queue), "sending stored sending sending waiting");
});

test("an upload goes from waiting over sending and checking to stored", async () => {
  const { queue, sent, changes } = scripted();
  const [upload] = queue.add(files(1));
  assert.ok(queue.active);
  sent[0].onprogress({ sent: 4, rate: 2 });
  assert.deepEqual([upload.sent, upload.rate], [4, 2]);
  sent[0].onprogress({ sent: 10, rate: 2 });
  const receipt = { name: "f0 (1)", hash: {} };
  sent[0].resolve(receipt);
  await settled();
  const way = ["waiting", "sending", "sending", "checking", "stored"];
  assert.deepEqual(changes, way.map((state) => `f0 ${state}`));
  assert.equal(upload.receipt, receipt);
  assert.ok(!queue.active);
});

test("what is above the limit fails at once, and is never sent", async () => {
  const { queue, sent } = scripted(9);
  const [upload] = queue.add(files(1));
  assert.deepEqual([upload.state, upload.error.code], ["failed", "too_large"]);
  queue.retry([upload]);
  assert.equal(upload.state, "failed");
  assert.deepEqual(sent, []);
  assert.equal(scripted(10).queue.add(files(1))[0].state, "sending");
});

test("a failure keeps its reason, and a retry begins anew", async () => {
  const { queue, sent } = scripted();
  const [upload] = queue.add(files(1));
  sent[0].onprogress({ sent: 4, rate: 2 });
  const error = { code: "no_space", reason: "Full." };
  sent[0].reject(error);
  await settled();
  assert.deepEqual([upload.state, upload.error, upload.rate], ["failed", error, 0]);
  queue.retry([upload]);
  assert.deepEqual([upload.state, upload.error, upload.sent], ["sending", null, 0]);
  queue.retry([upload]); // pressed twice
  assert.equal(sent.length, 2);
});

test("a retry comes before what still waits", async () => {
  const { queue, sent } = scripted();
  queue.add(files(5));
  sent[0].reject({ code: "x", reason: "x" });
  await settled();
  queue.retry([queue.uploads[0]]);
  sent[1].resolve({ name: "f1", hash: {} });
  await settled();
  assert.deepEqual(sent.map(({ name }) => name), ["f0", "f1", "f2", "f3", "f0"]);
});

test("what waits is cancelled without being sent, and what runs is aborted", async () => {
  const { queue, sent } = scripted();
  queue.add(files(5));
  queue.cancel(queue.uploads);
  await settled();
  assert.equal(states(queue), "cancelled cancelled cancelled cancelled cancelled");
  assert.equal(sent.length, 3);
  assert.ok(!queue.active);
  assert.ok(queue.uploads.every(({ late }) => !late));
});

test("a cancellation after the last byte may come too late, and says so", async () => {
  const { queue, sent } = scripted();
  const [upload] = queue.add(files(1));
  sent[0].onprogress({ sent: 10, rate: 2 });
  queue.cancel([upload]);
  await settled();
  assert.deepEqual([upload.state, upload.mayBeStored], ["cancelled", true]);
});

test("what is above the limit is not tried again", () => {
  const { queue, sent } = scripted(100);
  const [upload] = queue.add(files(1, 101));
  queue.retry([upload]);
  assert.equal(upload.state, "failed");
  assert.deepEqual(sent, []);
});

test("while nobody is known nothing is sent, and what is refused waits again", async () => {
  const { promise, reject } = withResolvers();
  const begun = [];
  let known = null;
  const send = ({ name }) => {
    begun.push(name);
    return { abort() {}, then: (...handlers) => promise.then(...handlers) };
  };
  const queue = new Queue({ send, largest: 100, onchange() {}, credential: () => known });
  queue.add(files(2));
  assert.equal(states(queue), "waiting waiting");
  assert.ok(queue.active);
  known = "a token";
  queue.start();
  assert.deepEqual(begun, ["f0", "f1"]);
  known = null;
  reject({ code: "unauthorized", reason: "Not you." });
  await settled();
  assert.equal(states(queue), "waiting waiting");
  assert.deepEqual(begun, ["f0", "f1"]);
  queue.cancel([queue.uploads[0]]);
  assert.equal(states(queue), "cancelled waiting");
});

test("what is refused after another token was given is sent with that", async () => {
  let known = "old";
  const sent = [];
  const send = () => {
    const made = withResolvers();
    sent.push({ ...made, shown: known });
    return { abort() {}, then: (...handlers) => made.promise.then(...handlers) };
  };
  const queue = new Queue({ send, largest: 100, onchange() {}, credential: () => known });
  queue.add(files(1));
  known = "new";
  sent[0].reject({ code: "unauthorized", reason: "Not you." });
  await settled();
  assert.deepEqual(sent.map(({ shown }) => shown), ["old", "new"]);
  sent[1].reject({ code: "unauthorized", reason: "Not you." });
  await settled();
  assert.equal(sent.length, 2);
  assert.equal(states(queue), "failed");
});

test("where it is not known what else to show, a refusal is a failure", async () => {
  const { queue, sent } = scripted();
  queue.add(files(1));
  sent[0].reject({ code: "unauthorized", reason: "Not you." });
  await settled();
  assert.equal(states(queue), "failed");
  assert.equal(queue.uploads[0].error.reason, "Not you.");
});
