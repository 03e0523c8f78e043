// Whether and when to go on, alone.

import assert from "node:assert/strict";
import { test } from "node:test";
import { text } from "./stage.mjs";

const names = "retryWait, GOES_ON, AWAY, RETRIES, FIRST_RETRIES";
const { retryWait, GOES_ON, AWAY, RETRIES, FIRST_RETRIES } = new Function(
  `"use strict";\n${text("client/retry.js")}\nreturn { ${names} };`,
)();

test("the wait doubles from half a second up to 15 s, and stays there", () => {
  const longest = [1, 2, 3, 4, 5, 6, 7, 8, 100, 1e9, Infinity].map((at) => retryWait(at, 1));
  const doubled = [500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000];
  assert.deepEqual(longest, [...doubled, 15_000, 15_000, 15_000, 15_000]);
});

test("half of each wait is random", () => {
  assert.deepEqual([0, 0.5, 1].map((random) => retryWait(2, random)), [500, 750, 1_000]);
});

test("all attempts together take half a minute to a minute", () => {
  const total = (random) => {
    let sum = 0;
    for (let attempt = 1; attempt <= RETRIES; attempt++) sum += retryWait(attempt, random);
    return sum;
  };
  assert.ok(total(0) >= 20_000 && total(1) <= 60_000, `${total(0)} to ${total(1)}`);
  assert.ok(FIRST_RETRIES < RETRIES);
});

test("the codes of section 8 of the protocol, and no others", () => {
  for (const code of ["idle", "too_slow", "busy", "shutting_down", "storage_failed"]) {
    assert.ok(GOES_ON.has(code), code);
  }
  const never = ["taken_over", "conflict", "quota_exceeded", "no_space", "unauthorized", "internal"];
  const wrong = ["bad_message", "bad_chunk", "hash_mismatch", "size_mismatch", "abandoned"];
  const own = ["aborted", "file_changed", "file_unreadable", "closed_early", "hash_unavailable"];
  for (const code of [...never, ...wrong, ...own, undefined]) assert.ok(!GOES_ON.has(code), code);
  for (const code of AWAY) assert.ok(GOES_ON.has(code), code);
});
