// The pure sender where an upload is continued: the first `ready`, and what follows from its offset.

import assert from "node:assert/strict";
import { test } from "node:test";
import { text } from "./stage.mjs";

const Sender = new Function(`"use strict";\n${text("client/sender.js")}\nreturn Sender;`)();

const KEY = "0".repeat(32);

/** A sender that has sent metadata with a key. */
function started(size, options) {
  const sender = new Sender({ name: "a.txt", size, upload: KEY, can: ["resume"] }, 10, options);
  sender.start();
  return sender;
}

const first = (offset, more) => ({ ready: true, chunksize: 4, offset, keep: 60, ...more });

/** Read and take all that is due: bounds of slices, and lengths and texts of messages. */
function send(sender) {
  const bounds = [];
  const messages = [];
  for (let slice = sender.nextSlice(); slice; slice = sender.nextSlice()) {
    bounds.push([slice.start, slice.end]);
    sender.sliceRead(slice, new ArrayBuffer(slice.end - slice.start));
    if (slice.last) sender.hashKnown(null);
  }
  while (sender.due() !== null) {
    const message = sender.take();
    messages.push(message.byteLength ?? message);
  }
  return { bounds, messages };
}

const FINISHED = '{"finished":true}';

test("the metadata have the key and what the client can", () => {
  const sender = new Sender({ name: "a", size: 1, upload: KEY, can: ["resume"] }, 10);
  assert.deepEqual(JSON.parse(sender.start()), {
    ...{ name: "a", size: 1 },
    ...{ upload: KEY, can: ["resume"] },
  });
  assert.ok(sender.hasKey);
  assert.equal(new Sender({ name: "a", size: 1 }, 10).hasKey, false);
});

test("the first ready says where to continue, and nothing is due before the place is taken", () => {
  const sender = started(10);
  const check = { type: "sha1", value: "00" };
  const event = sender.receive(first(4, { check }), true);
  assert.deepEqual(event, { type: "resume", offset: 4, keep: 60, check });
  assert.deepEqual([sender.nextSlice(), sender.due()], [null, null]);
  assert.throws(() => sender.take(), Error);
  assert.deepEqual(sender.receive({ ready: true, chunksize: 4 }, true), { type: "ready" });
  assert.deepEqual(send(sender), { bounds: [], messages: [] });
  sender.resumeAt(4);
  assert.deepEqual([sender.sent, sender.ratio], [4, 0.4]);
  assert.deepEqual(send(sender).bounds, [[4, 8], [8, 10]]);
});

test("the place is taken once, and only where it was asked for", () => {
  const sender = started(10);
  assert.throws(() => sender.resumeAt(0), Error);
  sender.receive(first(2), true);
  sender.resumeAt(2);
  assert.throws(() => sender.resumeAt(4), Error);
  assert.equal(sender.sent, 2);
});

test("an offset in a later ready has no effect", () => {
  const sender = started(10);
  sender.receive(first(0), true);
  sender.resumeAt(0);
  assert.deepEqual(sender.receive(first(9), true), { type: "ready" });
  assert.deepEqual(send(sender).bounds, [[0, 4], [4, 8]]);
});

test("where the offset is the size, finished answers the ready", () => {
  for (const further of [false, true]) {
    const sender = started(10, { further });
    sender.receive({ ready: true, offset: 10, keep: 60 }, true);
    sender.resumeAt(10);
    assert.deepEqual([sender.state, sender.isPlanned, sender.ratio], ["finishing", true, 1]);
    assert.equal(sender.nextSlice(), null);
    assert.equal(sender.due(), null, "the hash is not known");
    sender.hashKnown({ type: "sha1", value: "00" });
    assert.equal(sender.take(), '{"finished":true,"hash":{"type":"sha1","value":"00"}}');
    assert.ok(sender.isFinished);
    assert.equal(sender.due(), null);
    assert.equal(sender.receive({ close: true }, true).type, "stored");
  }
});

test("an empty file that is continued is finished at once", () => {
  const sender = started(0);
  assert.equal(sender.receive(first(0), true).type, "resume");
  sender.resumeAt(0);
  sender.hashKnown(null);
  assert.deepEqual(send(sender), { bounds: [], messages: [FINISHED] });
});

for (const offset of [undefined, null, -1, 11, 1.5, "4", true, [4], 2 ** 60]) {
  test(`no place is ${JSON.stringify(offset)}`, () => {
    const sender = started(10);
    const event = sender.receive(first(offset), true);
    assert.deepEqual([event.type, event.code], ["violation", "bad_message"]);
    assert.match(event.error, /offset from 0 to 10/);
    assert.deepEqual(send(sender), { bounds: [], messages: [] });
  });
}

test("keep is a number of seconds, or none", () => {
  for (const [keep, seconds] of [
    ...[[86_400, 86_400], [0.5, 0.5], [0, 0], [-1, 0]],
    ...[[undefined, 0], [null, 0], ["soon", 0], [{}, 0]],
  ]) {
    assert.equal(started(10).receive(first(0, { keep }), true).keep, seconds, String(keep));
  }
});

test("a close as the first signal is success, where that is agreed and the metadata have a key", () => {
  const stored = started(10).receive({ close: true, name: "b" }, true);
  assert.deepEqual(stored, { type: "stored", name: "b", path: null });
  assert.equal(started(10).receive({ close: true }, false).type, "violation");
  const classic = new Sender({ name: "a", size: 10 }, 10);
  classic.start();
  assert.equal(classic.receive({ close: true }, true).type, "violation");
});

for (const [signal, what] of [
  [first(0), "a ready"],
  [{ error: "slow" }, "an error"],
]) {
  test(`a close before finished behind ${what} is a violation`, () => {
    const sender = started(10);
    sender.receive(signal, true);
    const event = sender.receive({ close: true }, true);
    assert.deepEqual([event.type, event.code], ["violation", "closed_early"]);
  });
}

test("a signal without ready, close and error is not the first one", () => {
  const sender = started(10);
  assert.equal(sender.receive({ hello: 1, offset: 3 }, true).type, "ignored");
  assert.equal(sender.receive(first(3), true).type, "resume");
});

test("behind an error that is not fatal the first ready still says where to continue", () => {
  const sender = started(10);
  sender.receive({ error: "slow" }, true);
  const event = sender.receive(first(4), true);
  assert.deepEqual([event.type, event.offset], ["resume", 4]);
  sender.resumeAt(4);
  assert.deepEqual(sender.receive(first(0), true), { type: "ready" });
  assert.deepEqual(send(sender).bounds, [[4, 8], [8, 10]]);
});

test("without the agreement the upload is classic, whatever the ready has", () => {
  const sender = started(10);
  assert.deepEqual(sender.receive(first(4), false), { type: "ready" });
  assert.deepEqual(send(sender).bounds, [[0, 4]]);
});

test("a file that is sent whole is sent from its first byte, and needs no ready", () => {
  const sender = started(10, { further: true, whole: true });
  assert.deepEqual(send(sender), { bounds: [[0, 10]], messages: [10, FINISHED] });
  assert.equal(sender.receive(first(4), true).type, "ignored");
  assert.deepEqual(send(sender).messages, []);
  assert.equal(sender.receive({ close: true }, true).type, "stored");
});

test("a larger further file has finished behind its last byte, from its offset on", () => {
  const sender = started(10, { further: true });
  sender.receive(first(8), true);
  sender.resumeAt(8);
  assert.deepEqual(send(sender), { bounds: [[8, 10]], messages: [2, FINISHED] });
});

test("behind the end nothing is due, whatever comes", () => {
  for (const end of [0, 4, 10]) {
    const sender = started(10);
    sender.receive(first(end), true);
    sender.end();
    assert.deepEqual(send(sender), { bounds: [], messages: [] });
    assert.equal(sender.hasPending, false);
    assert.equal(sender.state, "ended");
  }
});
