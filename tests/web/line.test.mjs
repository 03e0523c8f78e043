// The pure state machine of one connection: which file may begin, and whose a signal is.

import assert from "node:assert/strict";
import { test } from "node:test";
import { text } from "./stage.mjs";

const parts = ["client/sender.js", "client/line.js"].map(text).join("");
const { Line, Sender } = new Function(`"use strict";\n${parts}\nreturn { Line, Sender };`)();

const FIRST = { ready: true, can: ["next"], next: 3, whole: 100, room: 150 };

const say = (line, signal) => line.receive(JSON.stringify(signal));

/** Begin a file, as a Connection does; returns its Sender. */
function begin(line, size) {
  const further = line.senders.length > 0;
  const sender = new Sender({ name: "a", size }, 1000, { further, whole: line.isWhole(size) });
  sender.start();
  line.begin(sender, size);
  return sender;
}

/** Read and take all that is due. */
function finish(sender) {
  for (let slice = sender.nextSlice(); slice; slice = sender.nextSlice()) {
    sender.sliceRead(slice, new ArrayBuffer(slice.end - slice.start));
    if (slice.last) sender.hashKnown(null);
  }
  while (sender.due() !== null) sender.take();
}

/** A line whose file 0 is stored. */
function agreed(first = FIRST) {
  const line = new Line(["next"]);
  const sender = begin(line, 10);
  say(line, first);
  say(line, { ready: true });
  finish(sender);
  assert.equal(say(line, { close: true }).type, "stored");
  line.answered(0);
  return line;
}

test("file 0 may begin at once, and nothing beside it before the first signal", () => {
  const line = new Line(["next"]);
  assert.deepEqual(line.can, ["next"]);
  assert.ok(line.mayBegin(2 ** 40));
  begin(line, 10);
  assert.equal(line.takesMore, false);
  assert.throws(() => line.begin({}, 1), Error);
});

test("a line that does not offer next takes one file, whatever the server states", () => {
  const line = new Line([]);
  assert.equal(line.can, undefined);
  begin(line, 10);
  say(line, FIRST);
  assert.deepEqual([line.agreed, line.takesMore], [false, false]);
});

for (const signal of [
  { ready: true },
  { ready: true, can: [] },
  { ready: true, can: "next", next: 3, whole: 1, room: 1 },
  { ready: true, can: ["resume"], next: 3 },
  { ready: true, can: ["next"] },
]) {
  test(`next is not agreed by ${JSON.stringify(signal)}`, () => {
    const line = new Line(["next"]);
    begin(line, 10);
    say(line, signal);
    say(line, FIRST); // only the first signal counts
    assert.equal(line.agreed, false);
  });
}

test("a signal that is neither ready, close nor error is not the first one", () => {
  const line = new Line(["next"]);
  begin(line, 10);
  say(line, { hello: 1 });
  say(line, FIRST);
  assert.ok(line.agreed);
});

test("an error about file 0 can be the first signal, and the connection continues", () => {
  const line = new Line(["next"]);
  begin(line, 10);
  const { ready, ...limits } = FIRST;
  const event = say(line, { error: "no", fatal: ready, ...limits });
  assert.deepEqual([event.type, event.number, event.ends], ["fatal", 0, false]);
  line.answered(0);
  assert.ok(line.mayBegin(50));
});

test("a further file waits until the one before is finished", () => {
  const line = new Line(["next"]);
  const first = begin(line, 10);
  say(line, FIRST);
  assert.equal(line.mayBegin(10), false);
  say(line, { ready: true });
  finish(first);
  assert.ok(line.mayBegin(10), "without its close");
});

test("small and empty further files are whole, and file 0 never is", () => {
  const line = new Line(["next"]);
  assert.equal(line.isWhole(0), false);
  const later = agreed({ ...FIRST, whole: 0, room: 0 });
  assert.deepEqual([later.isWhole(0), later.isWhole(1)], [true, false]);
  const usual = agreed();
  assert.deepEqual([100, 101].map((size) => usual.isWhole(size)), [true, false]);
});

test("at most next files are open, and room bytes of whole files under way", () => {
  const line = agreed();
  finish(begin(line, 100));
  assert.equal(line.mayBegin(51), false, "no room");
  assert.ok(line.mayBegin(50));
  assert.ok(line.mayBegin(1000), "a large one needs none");
  finish(begin(line, 50));
  finish(begin(line, 0));
  assert.equal(line.mayBegin(0), false, "three are open");
  line.answered(1);
  assert.ok(line.mayBegin(100), "its room is free again");
});

test("later signals raise the limits and never lower them; errors do neither", () => {
  const line = agreed();
  finish(begin(line, 5));
  say(line, { error: "one", file: 1, next: 99, whole: 99_999 });
  assert.equal(line.isWhole(101), false);
  say(line, { ready: true, file: 1, whole: 200, next: 1, room: 0 });
  assert.ok(line.isWhole(200));
  finish(begin(line, 100));
  assert.ok(line.mayBegin(0));
});

test("answers come in any order, each for its file", () => {
  const line = agreed();
  for (const size of [1, 2, 3]) finish(begin(line, size));
  for (const number of [3, 1, 2]) {
    assert.equal(line.isIdle, false);
    const event = say(line, { close: true, file: number, name: `n${number}` });
    assert.deepEqual([event.type, event.number, event.name], ["stored", number, `n${number}`]);
    line.answered(number);
  }
  assert.ok(line.isIdle);
});

test("an error with next is about one file, another one ends the connection", () => {
  const line = agreed();
  finish(begin(line, 1));
  finish(begin(line, 2));
  const one = say(line, { error: "x", fatal: true, next: true, file: 1 });
  assert.deepEqual([one.type, one.number, one.ends], ["fatal", 1, false]);
  line.answered(1);
  const all = say(line, { error: "x", fatal: true, file: 2 });
  assert.deepEqual([all.type, all.number, all.ends], ["fatal", 2, true]);
  const late = say(line, { error: "x", fatal: true });
  assert.deepEqual([late.type, late.number, late.ends], ["fatal", 0, true]);
});

test("signals about an answered file have no effect", () => {
  const line = agreed();
  for (const signal of [{ ready: true }, { close: true }, { error: "x" }]) {
    assert.equal(say(line, signal).type, "ignored");
  }
});

test("of a file that was given up only the answer counts", () => {
  const line = agreed();
  begin(line, 1000).end();
  assert.equal(line.mayBegin(1), false, "the server still waits for its bytes");
  assert.equal(say(line, { ready: true, file: 1 }).type, "ignored");
  assert.equal(say(line, { error: "gone", fatal: true, next: true, file: 1 }).type, "over");
  line.answered(1);
  assert.ok(line.mayBegin(1));
});

test("a signal about a file that was not sent is a violation", () => {
  for (const file of [1, -1, 0.5, "0", {}]) {
    const event = say(agreed(), { close: true, file });
    assert.deepEqual([event.type, event.code], ["violation", "bad_message"]);
  }
});

test("after last no file begins", () => {
  const line = agreed();
  assert.equal(say(line, { last: true }).type, "ignored");
  assert.deepEqual([line.takesMore, line.mayBegin(1)], [false, false]);
});

test("a message that is not a JSON object is a violation that quotes its beginning", () => {
  for (const message of ["{", "", "null", "7", '"ready"', "[1]", new ArrayBuffer(2)]) {
    const event = agreed().receive(message);
    assert.deepEqual([event.type, event.code], ["violation", "bad_message"]);
  }
  assert.match(agreed().receive("x".repeat(1000)).error, /"x{80}"\.$/);
});

const KEY = "0".repeat(32);

/** Begin a file with a key, as a Connection that offers both extensions does. */
function beginWithKey(line, size) {
  const options = { further: line.senders.length > 0, whole: line.isWhole(size) };
  const sender = new Sender({ name: "a", size, upload: KEY }, 1000, options);
  sender.start();
  line.begin(sender, size);
  return sender;
}

const BOTH = { ready: true, can: ["resume", "next"], next: 3, whole: 100, room: 150, offset: 0 };

for (const [can, resumable, agreed] of [
  [["resume", "next"], true, true],
  [["resume"], true, false],
  [["next"], false, true],
  [["ask", "resume"], true, false],
  [[], false, false],
  [undefined, false, false],
  ["resume", false, false],
  [{ resume: true }, false, false],
]) {
  test(`both extensions are offered, and the server can ${JSON.stringify(can)}`, () => {
    const line = new Line(["resume", "next"]);
    beginWithKey(line, 10);
    const event = say(line, { ...BOTH, can });
    assert.deepEqual([line.heard, line.resumable, line.agreed], [true, resumable, agreed]);
    assert.equal(event.type, resumable ? "resume" : "ready");
  });
}

test("an extension that was not offered is not agreed", () => {
  const line = new Line(["resume"]);
  beginWithKey(line, 10);
  say(line, BOTH);
  assert.deepEqual([line.resumable, line.agreed, line.takesMore], [true, false, false]);
});

test("each further file that waits has an offset of its own, wherever its ready comes", () => {
  const line = new Line(["resume", "next"]);
  const first = beginWithKey(line, 10);
  say(line, BOTH);
  first.resumeAt(0);
  say(line, { ready: true });
  finish(first);
  beginWithKey(line, 1000);
  assert.equal(say(line, { close: true }).type, "stored");
  line.answered(0);
  const event = say(line, { ready: true, file: 1, offset: 700, keep: 5 });
  assert.deepEqual([event.type, event.number, event.offset], ["resume", 1, 700]);
  const second = line.senders[1];
  second.resumeAt(700);
  finish(second);
  assert.ok(line.mayBegin(50), "behind its finished");
});

test("of a further file a first ready without an offset is a violation", () => {
  const line = new Line(["resume", "next"]);
  const first = beginWithKey(line, 10);
  say(line, BOTH);
  first.resumeAt(0);
  say(line, { ready: true });
  finish(first);
  beginWithKey(line, 1000);
  const event = say(line, { ready: true, file: 1 });
  assert.deepEqual([event.type, event.code], ["violation", "bad_message"]);
});

test("a file that was stored before is answered by close, in whatever way it is sent", () => {
  const line = new Line(["resume", "next"]);
  beginWithKey(line, 10);
  const { ready, offset, ...limits } = BOTH;
  assert.equal(say(line, { close: ready, ...limits }).type, "stored");
  line.answered(offset);
  beginWithKey(line, 1000);
  assert.equal(say(line, { close: true, file: 1 }).type, "stored");
  line.answered(1);
  finish(beginWithKey(line, 50));
  assert.equal(say(line, { close: true, file: 2 }).type, "stored");
  line.answered(2);
  assert.ok(line.isIdle);
});

test("an error as the first signal tells what is agreed too, and the ready behind it the place", () => {
  const line = new Line(["resume", "next"]);
  beginWithKey(line, 10);
  say(line, { error: "slow", can: ["resume", "next"], next: true });
  assert.deepEqual([line.heard, line.resumable, line.agreed], [true, true, true]);
  const event = say(line, { ready: true, offset: 3, keep: 1 });
  assert.deepEqual([event.type, event.offset], ["resume", 3]);
});

test("thousands of files that are answered leave nothing behind", () => {
  const line = agreed({ ...FIRST, next: 10 });
  for (let number = 1; number <= 5_000; number++) {
    finish(begin(line, 10));
    say(line, { close: true, file: number });
    line.answered(number);
  }
  assert.ok(line.isIdle);
  assert.ok(line.senders.every((sender) => sender === null));
  assert.ok(line.mayBegin(100), "all room is free");
});
