// The rate of many files together, and the time left.

import assert from "node:assert/strict";
import { test } from "node:test";
import { text } from "./stage.mjs";

const Total = new Function(`${text("client/total.js")}\nreturn Total;`)();

const FILE = 131_072; // a file takes as long as so many bytes

/** Measured each `step` ms up to `end`: `bytes` and `files` a second. */
function measure(total, { from = 0, end, step = 250, bytes = 0, files = 0, base = {} }) {
  const { bytes: had = 0, files: done = 0 } = base;
  for (let at = from; at <= end; at += step) {
    const seconds = (at - from) / 1000;
    total.sample(at, had + bytes * seconds, done + files * seconds);
  }
}

test("of one large file the rate is that of its bytes", () => {
  const total = new Total(0);
  measure(total, { end: 4_000, bytes: 1_000_000 });
  assert.equal(total.rate, 1_000_000);
  assert.equal(total.secondsLeft(6_000_000, 0), 6);
});

test("of empty files the files alone tell the time", () => {
  const total = new Total(0);
  measure(total, { end: 4_000, files: 100 });
  assert.equal(total.rate, 0);
  assert.equal(total.secondsLeft(0, 1_000), 10);
});

test("small files take longer than their bytes, large ones do not", () => {
  const total = new Total(0);
  measure(total, { end: 10_000, bytes: 1_000 * 50, files: 50 }); // files of 1000 bytes
  assert.equal(total.secondsLeft(1_000 * 500, 500), 10);
  // As many bytes in one file take far less time than in five hundred.
  assert.ok(total.secondsLeft(1_000 * 500, 1) < 0.1);
  const seconds = total.secondsLeft(50 * (FILE + 1_000) - FILE, 1);
  assert.equal(seconds, 1);
});

test("a phase of other files is forgotten after half a minute", () => {
  const total = new Total(0);
  measure(total, { end: 60_000, bytes: 1_000_000 });
  const base = { bytes: 60_000_000 };
  measure(total, { from: 60_000, end: 75_000, bytes: 100_000, base });
  assert.equal(total.rate, (15 * 1_000_000 + 15 * 100_000) / 30);
  measure(total, { from: 60_000, end: 90_000, bytes: 100_000, base });
  assert.equal(total.rate, 100_000);
});

test("nothing is told before a second was measured", () => {
  const total = new Total(500);
  assert.equal(total.rate, 0);
  assert.equal(total.secondsLeft(1, 1), null);
  total.sample(1_400, 1_000, 0);
  assert.equal(total.secondsLeft(1_000, 0), null);
  total.sample(1_500, 1_000, 0);
  assert.equal(total.secondsLeft(1_000, 0), 1);
});

test("while nothing gets through the time left grows, and then is not told", () => {
  const total = new Total(0);
  measure(total, { end: 10_000, bytes: 1_000 });
  total.sample(20_000, 10_000, 0);
  assert.equal(total.rate, 500);
  assert.equal(total.secondsLeft(1_000, 0), 2);
  for (let at = 20_500; at <= 40_000; at += 500) total.sample(at, 10_000, 0);
  assert.equal(total.rate, 0);
  assert.equal(total.secondsLeft(1_000, 0), null);
});

test("after a reset only what comes then counts", () => {
  const total = new Total(0);
  measure(total, { end: 10_000, bytes: 1_000_000, files: 10 });
  total.reset(70_000);
  assert.equal(total.rate, 0);
  assert.equal(total.secondsLeft(1, 1), null);
  const base = { bytes: 10_000_000, files: 100 };
  measure(total, { from: 70_000, end: 72_000, bytes: 500, base });
  assert.equal(total.rate, 500);
  assert.equal(total.secondsLeft(1_000, 0), 2);
});

test("the latest sample counts at once, however dense samples are", () => {
  const total = new Total(0);
  measure(total, { end: 10_000, step: 1, bytes: 1_000 });
  total.sample(10_001, 20_002, 0);
  assert.equal(total.rate, 2_000);
});

test("samples that are rarer than the window are not lost", () => {
  const total = new Total(0);
  for (const minute of [1, 2, 3]) total.sample(minute * 60_000, minute * 6_000, 0);
  assert.equal(total.rate, 100);
});

test("with nothing left no time is left", () => {
  const total = new Total(0);
  measure(total, { end: 2_000, bytes: 10 });
  assert.equal(total.secondsLeft(0, 0), 0);
});
