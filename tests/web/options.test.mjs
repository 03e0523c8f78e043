// Options that are never valid.

import assert from "node:assert/strict";
import { test } from "node:test";
import { fileOf, stage } from "./stage.mjs";

test("mistakes in the page are exceptions", () => {
  const page = stage();
  const file = fileOf("abc");
  const url = "ws://host/";
  assert.throws(() => page.GalileoSend({ url }), TypeError);
  assert.throws(() => page.GalileoSend({ url, file: "abc" }), TypeError);
  assert.throws(() => page.GalileoSend({ url, file: new Blob(["abc"]) }), TypeError);
  assert.throws(() => page.upload({ url, file, hash: "md5" }), TypeError);
  assert.throws(() => page.upload({ url, file, hash: "toString" }), TypeError);
  assert.equal(page.sockets.length, 0);
});
