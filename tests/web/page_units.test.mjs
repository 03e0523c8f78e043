// Sizes, rates, times and folders, as the page shows them.

import assert from "node:assert/strict";
import { test } from "node:test";
import { WEB } from "./stage.mjs";

const units = await import(`${WEB}page_units.js`);

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
  for (const [bytes, text] of expected) assert.equal(units.sizeText(bytes), text);
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
  for (const [seconds, text] of expected) assert.equal(units.timeText(seconds), text);
});

test("the pace is a rate and the time left, as far as they are known", () => {
  assert.equal(units.paceText(2 ** 20, 12), "1 MiB/s, 12 s left");
  assert.equal(units.paceText(2 ** 20, 0), "1 MiB/s");
  assert.equal(units.paceText(2 ** 20, null), "1 MiB/s");
  assert.equal(units.paceText(1, 2 ** 40), "1 B/s");
  assert.equal(units.paceText(0, 5), "5 s left");
  assert.equal(units.paceText(0, Infinity), "");
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
  for (const [path, text] of expected) assert.equal(units.folderText(path), text);
});
