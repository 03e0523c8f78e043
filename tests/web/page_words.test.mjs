// What the page says of uploads.

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
  const interrupted = said({ state: "interrupted", sent: 609 });
  assert.equal(interrupted, "Interrupted at 60%, continues by itself");
  assert.equal(said({ state: "paused" }), "Paused");
  assert.equal(said({ state: "paused", sent: 609 }), "Paused at 60%");
  assert.equal(said({ state: "checking" }), "Sent, being verified and stored");
  assert.equal(said({ state: "skipped" }), "Already there");
  assert.equal(said({ state: "replaced" }), "Replaced by a later file of the same name");
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
  const none = { stored: 0, skipped: 0, replaced: 0, failed: 0, cancelled: 0 };
  assert.equal(words.countText(3, none), "0 of 3 stored");
  assert.equal(words.countText(3, { ...none, stored: 1, replaced: 2 }), "1 of 3 stored, 2 replaced");
  const skipped = { ...none, skipped: 60 };
  assert.equal(words.countText(3_000, skipped), "0 of 2,940 stored, 60 already there");
  const all = words.countText(3_000, { ...skipped, stored: 2_940 });
  assert.equal(all, "2,940 stored, 60 already there");
  assert.equal(words.countText(60, skipped), "60 already there");
  const count = { ...none, stored: 1_000, failed: 2, cancelled: 3 };
  assert.equal(words.countText(1_006, count), "1,000 of 1,006 stored, 2 failed, 3 cancelled");
  const sum = { sent: 1024, size: 2048, rate: 512, secondsLeft: 7 };
  const said = (state, more = {}) => words.amountText({ ...sum, ...more }, state);
  assert.equal(said({ active: true }), "1 KiB of 2 KiB, 512 B/s, 7 s left");
  assert.equal(said({ active: true }, { rate: 0, secondsLeft: null }), "1 KiB of 2 KiB");
  assert.equal(said({ active: true, isPaused: true }), "1 KiB of 2 KiB, paused");
  assert.equal(said({ active: true, outage: {} }), "1 KiB of 2 KiB");
  assert.equal(said({ active: false }), "1 KiB stored");
  assert.equal(said({ active: false }, { sent: 0 }), "");
});

test("an outage says when the next connection is tried, and why there is none", () => {
  const said = (code, at, attempt = 1) =>
    words.outageText({ error: { code }, at, attempt }, 1_000);
  assert.equal(said("connection_lost", 3_900), "Connection lost. Trying again in 3 s.");
  const unreachable = "The server cannot be reached. Trying again in 1 s.";
  assert.equal(said("connection_failed", 1_000), unreachable);
  const hint = "It may not accept uploads from this page.";
  assert.equal(said("connection_failed", 1_000, 5), `${unreachable} ${hint}`);
  assert.equal(said("connection_lost", null), "Connection lost. Connecting again…");
  assert.equal(said("busy", 2_000), "The server is busy. Trying again in 1 s.");
  assert.equal(said("shutting_down", null), "The server is being restarted. Connecting again…");
});

test("an upload that was begun says how it goes on", () => {
  const begun = { size: 1000, sent: 609, handle: null };
  const hint = "60% sent. Choose or drop this file again to continue.";
  assert.equal(words.begunText(begun), hint);
  assert.equal(words.begunText({ ...begun, handle: {} }), "60% sent");
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
  const skipped = [upload({ state: "skipped" }), upload({ state: "replaced" })];
  assert.equal(words.endText(skipped), "2 files finished: 1 already there, 1 replaced");
});
