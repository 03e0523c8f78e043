// The pure sender alone: messages of the server in, slices to read and messages to send out.

import assert from "node:assert/strict";
import { test } from "node:test";
import { text } from "./stage.mjs";

const Untold = new Function(`"use strict";\n${text("client/sender.js")}\nreturn Sender;`)();

/** A sender that is told the signals as text. */
class Sender extends Untold {
  receive(signal) {
    return super.receive(JSON.parse(signal));
  }
}

const MiB = 2 ** 20;
const READY = '{"ready": true}';
const CLOSE = '{"close": true}';
const ready = (chunksize) => JSON.stringify({ ready: true, chunksize });

/** A sender that has sent its metadata. */
function started(size, chunksize = 10) {
  const sender = new Sender({ name: "a.txt", size }, chunksize);
  sender.start();
  return sender;
}

/** Give the sender all slices that it asks for; their bounds. */
function read(sender) {
  const bounds = [];
  for (let slice = sender.nextSlice(); slice; slice = sender.nextSlice()) {
    bounds.push([slice.start, slice.end]);
    assert.ok(sender.sliceRead(slice, new ArrayBuffer(slice.end - slice.start)));
    if (slice.last) sender.hashKnown(null);
  }
  return bounds;
}

/** All messages that are due: the length of each chunk, and the text of each `finished`. */
function taken(sender) {
  const messages = [];
  while (sender.due() !== null) {
    const message = sender.take();
    messages.push(message.byteLength ?? message);
  }
  return messages;
}

/** A sender of 10 bytes in each state. */
const IN_STATE = {
  start: () => new Sender({ name: "a.txt", size: 10 }, 10),
  sending: () => started(10),
  finishing() {
    const sender = started(10);
    sender.receive(READY);
    read(sender);
    assert.deepEqual(taken(sender), [10]);
    return sender;
  },
  awaitingClose() {
    const sender = IN_STATE.finishing();
    sender.receive(READY);
    assert.deepEqual(taken(sender), ['{"finished":true}']);
    return sender;
  },
  ended() {
    const sender = IN_STATE.awaitingClose();
    sender.end();
    return sender;
  },
};

for (const [state, make] of Object.entries(IN_STATE)) {
  test(`the metadata is sent in the state start only: ${state}`, () => {
    const sender = make();
    assert.equal(sender.state, state);
    if (state === "start") {
      assert.equal(sender.start(), '{"name":"a.txt","size":10}');
      assert.equal(sender.state, "sending");
    }
    const before = sender.state;
    assert.throws(() => sender.start(), Error);
    assert.equal(sender.state, before);
  });

  test(`close means success once finished is sent: ${state}`, () => {
    const sender = make();
    const event = sender.receive('{"close": true, "name": "b.txt"}');
    if (state === "awaitingClose") {
      assert.deepEqual(event, { type: "stored", name: "b.txt", path: null });
    } else {
      assert.deepEqual([event.type, event.code], ["violation", "closed_early"]);
    }
    assert.equal(sender.state, state);
  });

  test(`nothing is due without a ready, and to take it throws: ${state}`, () => {
    const sender = make();
    assert.equal(sender.due(), null);
    assert.equal(sender.hasPending, false);
    assert.throws(() => sender.take(), Error);
    assert.equal(sender.state, state);
  });

  test(`errors are events in every state: ${state}`, () => {
    const sender = make();
    const [soft, fatal] = [{ error: "soft" }, { error: "hard", fatal: true }];
    assert.deepEqual(sender.receive(JSON.stringify(soft)), { type: "error", signal: soft });
    assert.deepEqual(sender.receive(JSON.stringify(fatal)), { type: "fatal", signal: fatal });
    assert.deepEqual(sender.errors, [soft, fatal]);
    assert.equal(sender.state, state);
  });
}

test("a token is in the metadata", () => {
  const sender = new Sender({ name: "a.txt", size: 0, token: "secret" }, 10);
  assert.equal(sender.start(), '{"name":"a.txt","size":0,"token":"secret"}');
});

test("one slice for each ready, of the size that it allows, up to the end of the file", () => {
  const sender = started(100, 30);
  assert.equal(sender.nextSlice(), null);
  for (const message of [ready(7), READY, ready(0), ready(50), ready(9)]) sender.receive(message);
  assert.deepEqual(read(sender), [
    [0, 7],
    [7, 37],
    [37, 67],
    [67, 100],
  ]);
  assert.deepEqual(taken(sender), [7, 30, 30, 33, '{"finished":true}']);
});

test("an empty file is one empty slice", () => {
  const sender = started(0);
  sender.receive(READY);
  assert.deepEqual(read(sender), [[0, 0]]);
  assert.deepEqual(taken(sender), [0]);
  assert.deepEqual([sender.state, sender.ratio], ["finishing", 1]);
});

test("a chunk is due when its slice is read, and never before an earlier one", () => {
  const sender = started(20);
  sender.receive(READY);
  sender.receive(READY);
  const [first, second] = [sender.nextSlice(), sender.nextSlice()];
  sender.sliceRead(second, new ArrayBuffer(10));
  assert.deepEqual([sender.due(), sender.hasPending], [null, true]);
  sender.sliceRead(first, new ArrayBuffer(10));
  assert.equal(sender.due(), "chunk");
  sender.take();
  assert.deepEqual([sender.sent, sender.ratio, sender.state], [10, 0.5, "sending"]);
  sender.take();
  assert.equal(sender.state, "finishing");
});

test("a slice of another length is refused and is not sent", () => {
  const sender = started(10);
  sender.receive(READY);
  const slice = sender.nextSlice();
  for (const length of [0, 9, 11]) {
    assert.equal(sender.sliceRead(slice, new ArrayBuffer(length)), false);
    assert.equal(sender.due(), null);
  }
});

test("finished waits for a ready and for the hash, and answers each further ready", () => {
  const sender = started(10);
  sender.receive(READY);
  const slice = sender.nextSlice();
  sender.sliceRead(slice, new ArrayBuffer(10));
  assert.deepEqual(taken(sender), [10]);
  sender.receive(READY);
  assert.equal(sender.due(), null);
  const hash = { type: "sha1", value: "ab" };
  sender.hashKnown(hash);
  const message = JSON.stringify({ finished: true, hash });
  assert.deepEqual(taken(sender), [message]);
  sender.receive(READY);
  sender.receive(READY);
  assert.deepEqual(taken(sender), [message, message]);
  assert.equal(sender.hash, hash);
});

test("two slices are read ahead, or as many as 4 MiB hold", () => {
  for (const [chunksize, ahead] of [
    [8 * MiB, 2],
    [3 * MiB, 2],
    [MiB, 4],
    [65_536, 64],
  ]) {
    const sender = started(2 ** 40, chunksize);
    for (let i = 0; i < 200; i++) sender.receive(READY);
    assert.equal(read(sender).length, ahead);
    sender.take();
    assert.equal(read(sender).length, 1);
  }
});

test("a chunk is at most 16 MiB", () => {
  const sender = started(2 ** 40);
  sender.receive(ready(2 ** 40));
  assert.deepEqual(read(sender), [[0, 16 * MiB]]);
});

test("1024 unanswered ready signals are accepted, one more is a violation", () => {
  const sender = started(2 ** 40);
  for (let i = 0; i < 1024; i++) assert.deepEqual(sender.receive(READY), { type: "ready" });
  const event = sender.receive(READY);
  assert.deepEqual([event.type, event.code], ["violation", "bad_message"]);
});

test("at most a hundred errors are kept, and a fatal one always", () => {
  const sender = started(10);
  for (let i = 0; i < 500; i++) sender.receive(JSON.stringify({ error: `error ${i}` }));
  sender.receive('{"error": "enough", "fatal": true}');
  assert.equal(sender.errors.length, 101);
  assert.equal(sender.errors[100].error, "enough");
});

test("unknown signals and falsy ones are ignored", () => {
  const sender = started(10);
  for (const signal of [{}, { hello: 1 }, { ready: false }, { error: "" }, { close: 0 }]) {
    assert.deepEqual(sender.receive(JSON.stringify(signal)), { type: "ignored" });
  }
  assert.equal(sender.nextSlice(), null);
});

test("a signal is an error first, then a ready, then a close", () => {
  const error = { error: "x", fatal: true, ready: true, close: true };
  const event = IN_STATE.awaitingClose().receive(JSON.stringify(error));
  assert.deepEqual(event, { type: "fatal", signal: error });
  assert.deepEqual(started(10).receive('{"ready": true, "close": true}'), { type: "ready" });
});

test("close without a usable name stores under the name that was sent", () => {
  for (const name of [undefined, null, "", 7]) {
    const event = IN_STATE.awaitingClose().receive(JSON.stringify({ close: true, name }));
    assert.deepEqual(event, { type: "stored", name: null, path: null });
  }
});

test("the extensions are in the metadata", () => {
  const sender = new Sender({ name: "a.txt", size: 0, can: ["next"] }, 10);
  assert.equal(sender.start(), '{"name":"a.txt","size":0,"can":["next"]}');
});

/** A further file that has sent its metadata. */
function further(size, whole) {
  const sender = new Sender({ name: "a.txt", size }, 10, { further: true, whole });
  sender.start();
  return sender;
}

test("a whole file needs no ready: one chunk and finished", () => {
  const sender = further(25, true);
  assert.deepEqual(read(sender), [[0, 25]]);
  assert.deepEqual(taken(sender), [25, '{"finished":true}']);
  assert.ok(sender.isFinished);
});

test("an empty further file is finished without a chunk", () => {
  const sender = further(0, true);
  assert.deepEqual(read(sender), [[0, 0]]);
  assert.deepEqual(taken(sender), ['{"finished":true}']);
});

test("a larger further file waits for its ready, and finished does not", () => {
  const sender = further(15, false);
  assert.equal(sender.nextSlice(), null);
  sender.receive(ready(10));
  sender.receive(ready(10));
  assert.deepEqual(read(sender), [
    [0, 10],
    [10, 15],
  ]);
  assert.deepEqual(taken(sender), [10, 5, '{"finished":true}']);
});

test("a ready for a further file that needs none is not answered", () => {
  for (const size of [0, 5]) {
    const sender = further(size, true);
    read(sender);
    assert.deepEqual(sender.receive(READY), { type: "ignored" });
    assert.equal(taken(sender).at(-1), '{"finished":true}');
    assert.deepEqual(sender.receive(READY), { type: "ignored" });
    assert.equal(sender.due(), null);
  }
});

test("after the end nothing is read and nothing is due, whatever still arrives", () => {
  const sender = started(30);
  for (let i = 0; i < 3; i++) sender.receive(READY);
  const [first, second] = [sender.nextSlice(), sender.nextSlice()];
  sender.sliceRead(first, new ArrayBuffer(10));
  sender.end();
  sender.sliceRead(second, new ArrayBuffer(10));
  sender.hashKnown(null);
  assert.deepEqual([sender.state, sender.due(), sender.nextSlice(), sender.hasPending], [
    "ended",
    null,
    null,
    false,
  ]);
});

/** Numbers from 0 to 1 that are the same in each run (mulberry32). */
function randoms(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

test("in any order of events the chunks cover the file once, one for each ready", () => {
  for (let seed = 0; seed < 300; seed++) {
    const random = randoms(seed);
    const upTo = (limit) => Math.floor(random() * limit);
    const size = upTo(200);
    const sender = started(size, 1 + upTo(50));
    const reading = [];
    const sent = [];
    let credits = 0;
    let offset = 0;
    for (let step = 0; sender.state !== "awaitingClose"; step++) {
      assert.ok(step < 10_000, `no end with the seed ${seed}`);
      const slice = sender.nextSlice();
      if (slice) {
        assert.equal(slice.start, offset);
        offset = slice.end;
        reading.push(slice);
      }
      if (random() < 0.3 && credits < 1000) {
        sender.receive(ready(upTo(60)));
        credits += 1;
      }
      if (reading.length > 0 && random() < 0.5) {
        const [done] = reading.splice(upTo(reading.length), 1);
        sender.sliceRead(done, new ArrayBuffer(done.end - done.start));
        if (done.last) sender.hashKnown(null);
      }
      if (sender.due() !== null && random() < 0.5) sent.push(sender.take());
      assert.ok(sent.length <= credits);
      assert.ok(sender.sent <= offset && offset <= size);
    }
    const chunks = sent.slice(0, -1).map(({ byteLength }) => byteLength);
    assert.equal(sent.at(-1), '{"finished":true}');
    assert.equal(
      chunks.reduce((sum, length) => sum + length, 0),
      size,
    );
    assert.ok(chunks.length >= 1, "an empty file too has a chunk");
    assert.ok(size === 0 || !chunks.includes(0), "no other file has an empty one");
    assert.deepEqual(sender.receive(CLOSE), { type: "stored", name: null, path: null });
  }
});
