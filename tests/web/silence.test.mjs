// The time without activity, alone.

import assert from "node:assert/strict";
import { test } from "node:test";
import { text } from "./stage.mjs";

const Silence = new Function(`"use strict";\n${text("client/silence.js")}\nreturn Silence;`)();

const LIMIT = 10_000;
const TICK = 200;

/** When the limit is exceeded by a clock that ticks from `from` on; null: not up to `until`. */
function exceededAt(silence, { from = 0, until = 60_000, limit = LIMIT } = {}) {
  for (let now = from; now <= until; now += TICK) {
    if (silence.exceeded(now, limit, 3_000)) return now;
  }
  return null;
}

test("the limit is exceeded by the second tick that finds it so", () => {
  assert.equal(exceededAt(new Silence(0)), LIMIT + TICK);
});

test("activity puts it off, and clears a suspicion", () => {
  const silence = new Silence(0);
  assert.equal(silence.exceeded(LIMIT, LIMIT), false);
  silence.activity(LIMIT);
  assert.equal(silence.exceeded(2 * LIMIT, LIMIT), false, "suspected anew");
  assert.equal(silence.exceeded(2 * LIMIT + TICK, LIMIT), true);
});

test("a page that was suspended is not silent before it has looked at what came", () => {
  const silence = new Silence(0);
  assert.equal(silence.exceeded(3_600_000, LIMIT), false);
  silence.activity(3_600_000);
  assert.equal(exceededAt(silence, { from: 3_600_000, until: 3_609_000 }), null);
});

test("a limit that grows meanwhile counts", () => {
  const silence = new Silence(0);
  assert.equal(silence.exceeded(LIMIT, LIMIT), false);
  assert.equal(silence.exceeded(LIMIT + TICK, 2 * LIMIT), false);
});

test("in doubt the other limit counts from then on, until the next activity", () => {
  const silence = new Silence(0);
  assert.equal(silence.isDoubted, false);
  silence.doubt(5_000);
  assert.equal(silence.isDoubted, true);
  assert.equal(exceededAt(silence, { from: 5_000 }), 8_200);
  silence.activity(9_000);
  assert.equal(silence.isDoubted, false);
  assert.equal(exceededAt(silence, { from: 9_000 }), 19_200);
});

test("a lower limit than that of doubt stays", () => {
  const silence = new Silence(0);
  silence.doubt(0);
  assert.equal(exceededAt(silence, { limit: 1_000 }), 1_200);
});
