// What the page says: sizes, rates, times and ends.

import assert from "node:assert/strict";
import { test } from "node:test";
import { WEB } from "./stage.mjs";

const words = await import(`${WEB}page_words.js`);

const upload = (what) => ({
  file: { name: "a.txt" },
  name: "a.txt",
  size: 1000,
  sent: 0,
  rate: 0,
  mayBeStored: false,
  ...what,
});

test("a size has a unit that fits, and is never rounded up", () => {
  const expected = [
    [0, "0 B"],
    [1, "1 B"],
    [1023, "1023 B"],
    [1024, "1 KiB"],
    [1535, "1.4 KiB"],
    [1536, "1.5 KiB"],
    [2 ** 20 - 1, "1023 KiB"],
    [200 * 2 ** 20, "200 MiB"],
    [10 * 2 ** 30 - 1, "9.9 GiB"],
    [10 * 2 ** 30, "10 GiB"],
    [2 ** 63, "8192 PiB"],
  ];
  for (const [bytes, text] of expected) assert.equal(words.sizeText(bytes), text);
});

test("a time is short, and nothing where nobody can tell", () => {
  const expected = [
    [0, "1 s"],
    [12.2, "13 s"],
    [59.5, "1 min"],
    [61, "2 min"],
    [3_600, "1 h"],
    [3_601, "1 h 1 min"],
    [360_000, null],
    [Infinity, null],
    [NaN, null],
  ];
  for (const [seconds, text] of expected) assert.equal(words.timeText(seconds), text);
});

test("the pace is a rate and the time left, as far as they are known", () => {
  assert.equal(words.paceText(2 ** 20, 12), "1 MiB/s, 12 s left");
  assert.equal(words.paceText(2 ** 20, 0), "1 MiB/s");
  assert.equal(words.paceText(2 ** 20, null), "1 MiB/s");
  assert.equal(words.paceText(1, 2 ** 40), "1 B/s");
  assert.equal(words.paceText(0, 5), "5 s left");
  assert.equal(words.paceText(0, Infinity), "");
});

test("a folder is shortened in the middle where its path is too long", () => {
  const long = "a".repeat(25);
  const expected = [
    ["a", "a"],
    ["a/b/c", "a/b/c"],
    [`photos/${long}/${long}/2026`, `photos/…/${long}/2026`],
    [`${long}/${long}/b/c/d/e`, `${long}/…/b/c/d/e`],
    [`${long}/${long}${long}`, `${long}/${long}${long}`], // what does not fit is cut by the style
    [`${long}${long}${long}`, `${long}${long}${long}`],
    [`a/b/${long}${long}${long}`, `a/…/${long}${long}${long}`],
  ];
  for (const [path, text] of expected) assert.equal(words.folderText(path), text);
});

test("a file above the limit is told with sizes that differ", () => {
  const near = "Too large: the file is 1,048,577 bytes, the limit is 1,048,576 bytes.";
  assert.equal(words.tooLargeText(2 ** 20 + 1, 2 ** 20), near);
  const far = "Too large: the file is 11 GiB, the limit is 10 GiB.";
  assert.equal(words.tooLargeText(11 * 2 ** 30, 10 * 2 ** 30), far);
});

test("each state has its words", () => {
  const said = (what) => words.statusText(upload(what));
  assert.equal(said({ state: "waiting" }), "Waiting");
  assert.equal(said({ state: "sending" }), "Connecting");
  assert.equal(said({ state: "sending", sent: 10 }), "Sending");
  assert.equal(said({ state: "sending", sent: 500, rate: 100 }), "100 B/s, 5 s left");
  assert.equal(said({ state: "checking" }), "Sent, being verified and stored");
  assert.equal(said({ state: "cancelled" }), "Cancelled");
  assert.match(said({ state: "cancelled", mayBeStored: true }), /^Cancelled, but .* may have stored/);
});

test("what is stored tells its name only where it is another one", () => {
  const said = (name, sent = "a.txt", hash = {}) =>
    words.statusText(upload({ state: "stored", file: { name: sent }, receipt: { name, hash } }));
  assert.equal(said("a.txt"), "Stored, verified");
  assert.equal(said("a (1).txt"), "Stored, verified, as a (1).txt");
  assert.equal(said("\u00e9", "e\u0301"), "Stored, verified");
  assert.equal(said("a.txt", "a.txt", null), "Stored, size verified");
});

test("a failure is told in the server's words, and in our own where it said nothing", () => {
  const said = (error) => words.statusText(upload({ state: "failed", error }));
  assert.equal(said({ code: "no_space", reason: "No room." }), "No room.");
  assert.match(said({ code: "connection_lost", reason: "1006" }), /^The connection was lost/);
  assert.match(said({ code: "connection_failed", reason: "x" }), /cannot be reached/);
  assert.match(said({ code: "taken_over", reason: "x" }), /^Another tab or device/);
  assert.match(said({ code: "file_changed", reason: "x" }), /Choose it again/);
  assert.equal(said({ code: "constructor", reason: "Odd." }), "Odd.");
});

test("the total counts, and says how far it is", () => {
  const none = { stored: 0, failed: 0, cancelled: 0 };
  assert.equal(words.countText(3, none), "0 of 3 stored");
  const count = { stored: 1_000, failed: 2, cancelled: 3 };
  assert.equal(words.countText(1_006, count), "1,000 of 1,006 stored, 2 failed, 3 cancelled");
  const sum = { sent: 1024, size: 2048, rate: 512, secondsLeft: 7 };
  assert.equal(words.amountText(sum, true), "1 KiB of 2 KiB, 512 B/s, 7 s left");
  assert.equal(words.amountText({ ...sum, rate: 0, secondsLeft: null }, true), "1 KiB of 2 KiB");
  assert.equal(words.amountText(sum, false), "1 KiB stored");
  assert.equal(words.amountText({ ...sum, sent: 0 }, false), "");
});

test("how many files are not shown", () => {
  assert.equal(words.moreText(1), "1 more file.");
  assert.equal(words.moreText(9_800), "9,800 more files.");
});

test("ends that come together are told in one sentence", () => {
  const failed = upload({ state: "failed", error: { code: "x", reason: "Why." } });
  assert.equal(words.endText([failed]), "a.txt: Why.");
  const others = [failed, upload({ state: "stored" }), upload({ state: "stored" })];
  assert.equal(words.endText(others), "3 files finished: 2 stored, 1 failed");
});
