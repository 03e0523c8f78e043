// A hash that can go back, with the real library.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import vm from "node:vm";
import { pattern, text } from "./stage.mjs";

const STEP = 2 ** 20;

/** The class with states each MiB, of which at most `most` are kept, so that little is hashed. */
function resumable(most = 8) {
  const source = text("client/resumable_hash.js")
    .replace(/STATE_STEP = [^;]+;/, `STATE_STEP = ${STEP};`)
    .replace(/MAX_STATES = [^;]+;/, `MAX_STATES = ${most};`);
  return new Function(`"use strict";\n${source}\nreturn ResumableHash;`)();
}

const Hash = resumable();
const TYPES = {
  sha1: ["createSHA1", "sha1"],
  sha256: ["createSHA256", "sha256"],
  sha512: ["createSHA512", "sha512"],
  blake2b: ["createBLAKE2b", "blake2b512"],
};
for (const type of Object.keys(TYPES)) {
  vm.runInThisContext(text(`vendor/hash-wasm/${type}.umd.min.js`));
}

const BYTES = pattern(6 * STEP + 123);
const digestOf = (end, type) =>
  createHash(TYPES[type][1]).update(BYTES.subarray(0, end)).digest("hex");
const make = async (type = "sha1", states = [], From = Hash) =>
  new From(await globalThis.hashwasm[TYPES[type][0]](), states);

/** Hash up to `end`, in pieces of an odd size. */
function feed(hash, end) {
  for (let at = hash.at; at < end; at = hash.at) {
    hash.update(BYTES.subarray(at, Math.min(at + 100_003, end)));
  }
  return hash;
}

for (const type of Object.keys(TYPES)) {
  test(`from any place that it goes back to the digest is right: ${type}`, async () => {
    const hash = feed(await make(type), BYTES.length);
    assert.equal(hash.digest(), digestOf(BYTES.length, type));
    for (const offset of [5 * STEP + 7, 5 * STEP, 3 * STEP - 1, 1, 0, 2 * STEP, BYTES.length]) {
      const at = hash.back(offset);
      assert.ok(at <= offset);
      assert.equal(at, hash.at);
      assert.equal(feed(hash, offset).digest(), digestOf(offset, type), String(offset));
      assert.equal(feed(hash, offset).digest(), digestOf(offset, type), "a second time");
      assert.equal(feed(hash, BYTES.length).digest(), digestOf(BYTES.length, type));
    }
  });
}

test("of an upload that continues little is hashed again", async () => {
  const hash = feed(await make(), BYTES.length);
  const offset = 5 * STEP + 50;
  assert.ok(offset - hash.back(offset) < 2 * STEP);
  assert.equal(hash.back(offset), hash.at, "nothing changes by a second call");
});

test("where the place is not behind, all that was hashed counts", async () => {
  const hash = feed(await make(), 1_000);
  assert.equal(hash.back(1_000), 1_000);
  assert.equal(hash.back(5_000), 1_000);
  assert.equal(hash.back(999), 0);
});

test("states of an earlier reader save hashing, and are sound", async () => {
  const earlier = feed(await make(), BYTES.length).states(32);
  assert.ok(earlier.length >= 4);
  const hash = await make("sha1", structuredClone(earlier));
  const offset = 4 * STEP + 300_000;
  assert.ok(hash.back(offset) >= 3 * STEP);
  assert.equal(feed(hash, offset).digest(), digestOf(offset, "sha1"));
  assert.ok(hash.states(32).every(({ at }) => at <= offset), "none is ahead of the place");
  assert.equal(feed(hash, BYTES.length).digest(), digestOf(BYTES.length, "sha1"));
});

test("states that are not used do no harm to an upload from its first byte", async () => {
  const earlier = feed(await make(), BYTES.length).states(32);
  const hash = feed(await make("sha1", earlier), BYTES.length);
  assert.equal(hash.digest(), digestOf(BYTES.length, "sha1"));
});

test("the caller's list of states is left alone", async () => {
  const earlier = feed(await make(), BYTES.length).states(32);
  const before = earlier.length;
  const hash = await make("sha1", earlier);
  hash.back(0);
  feed(hash, 3 * STEP);
  assert.equal(earlier.length, before);
});

test("only the newest states are given, in their order", async () => {
  const hash = feed(await make(), BYTES.length);
  const places = hash.states(3).map(({ at }) => at);
  assert.equal(places.length, 3);
  assert.deepEqual(places, [...places].sort((a, b) => a - b));
  assert.ok(places[0] > 3 * STEP);
});

for (const [what, state] of [
  ["another hash", null],
  ["another version", new Uint8Array(100)],
  ["too few bytes", new Uint8Array(3)],
  ["no bytes", undefined],
  ["a string", "state"],
]) {
  test(`a state of ${what} is not used, and all bytes are hashed again`, async () => {
    const [foreign] = feed(await make("sha256"), 2 * STEP).states(1);
    const given = [{ at: STEP, state: state === null ? foreign.state : state }];
    const hash = await make("sha1", given);
    assert.equal(hash.back(STEP + 5), 0);
    assert.equal(feed(hash, STEP + 5).digest(), digestOf(STEP + 5, "sha1"));
    assert.equal(feed(hash, BYTES.length).digest(), digestOf(BYTES.length, "sha1"));
  });
}

test("however large the file, few states are kept, all over it", async () => {
  const most = 8;
  const Small = resumable(most);
  const hash = await make("sha1", [], Small);
  const piece = BYTES.subarray(0, STEP);
  for (let count = 0; count < 100; count++) {
    hash.update(piece);
    assert.ok(hash.states(1_000).length <= most);
  }
  const places = hash.states(1_000).map(({ at }) => at / STEP);
  assert.ok(places.length >= most / 2);
  assert.ok(places[0] <= 100 / 3, `from ${places}`);
  assert.ok(places.at(-1) >= 100 - 100 / 3, `to ${places}`);
});
