// The order of the list on the page.

import assert from "node:assert/strict";
import { test } from "node:test";
import { WEB } from "./stage.mjs";

const { firstOf, placeOf } = await import(`${WEB}page_order.js`);

test("a row has the place of its state", () => {
  const place = (state, sent = 0) => placeOf({ state, sent }, 0, 5_000);
  for (const state of ["sending", "checking", "interrupted"]) assert.equal(place(state), "running");
  for (const state of ["waiting", "paused"]) {
    assert.equal(place(state), "waiting");
    assert.equal(place(state, 1), "running", "it was begun");
  }
  assert.equal(place("failed", 1), "failed");
  for (const state of ["stored", "cancelled"]) assert.equal(place(state, 1), "ended");
  assert.equal(place("skipped"), "there");
});

test("a file that is stored within a moment is never at the top", () => {
  assert.equal(placeOf({ state: "sending", sent: 0 }, 4_001, 5_000), "waiting");
  assert.equal(placeOf({ state: "checking", sent: 9 }, 4_001, 5_000), "waiting");
  assert.equal(placeOf({ state: "checking", sent: 9 }, 4_000, 5_000), "running");
});

test("so many are shown from the top, in the order of their places", () => {
  const places = ["there", "ended", "ended", "waiting", "failed", "running", "waiting"];
  const rows = places.map((place, index) => ({ index, place }));
  const first = (number) => [...firstOf(rows, number)].map(({ index }) => index);
  assert.deepEqual(first(100), [5, 4, 3, 6, 1, 2, 0]);
  assert.deepEqual(first(3), [5, 4, 3]);
  assert.deepEqual(first(0), []);
});
