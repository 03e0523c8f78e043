// The credential in the fragment of a URL.

import assert from "node:assert/strict";
import { test } from "node:test";
import { WEB } from "./stage.mjs";

const { fromFragment } = await import(`${WEB}page_credential.js`);

for (const [fragment, found] of [
  ["#ticket=a.b.c", "a.b.c"],
  ["#token=gal_1_2", "gal_1_2"],
  ["#ticket=a%20b", "a b"],
  ["#ticket=100%", "100%"],
  ["#ticket=", null],
  ["#ticket=%20", null],
  ["#tickets=a", null],
  ["#section", null],
  ["", null],
]) {
  test(`the fragment "${fragment}" holds ${found}`, () => {
    assert.equal(fromFragment(fragment), found);
  });
}
