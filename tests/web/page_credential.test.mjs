// The credential in the fragment of a URL, and where another one is from.

import assert from "node:assert/strict";
import { test } from "node:test";
import { WEB } from "./stage.mjs";

const { fromFragment } = await import(`${WEB}page_credential.js`);
const { renewalOf, ticketIn } = await import(`${WEB}page_renew.js`);

for (const [fragment, found, renew] of [
  ["#ticket=a.b.c", "a.b.c", ""],
  ["#token=gal_1_2", "gal_1_2", ""],
  ["#ticket=a%20b", "a b", ""],
  ["#ticket=100%", "100%", ""],
  ["#ticket=a.b.c&renew=/ticket", "a.b.c", "/ticket"],
  ["#ticket=a.b.c&renew=%2Fticket%3Ffor%3D1", "a.b.c", "/ticket?for=1"],
  ["#ticket=a.b.c&renew=/ticket?a=1&b=2", "a.b.c", "/ticket?a=1&b=2"],
  ["#ticket=a.b.c&renew=", "a.b.c", ""],
  ["#ticket=a&b", "a&b", ""],
  ["#ticket=", null],
  ["#ticket=%20", null],
  ["#tickets=a", null],
  ["#section", null],
  ["#renew=/ticket", null],
  ["", null],
]) {
  test(`the fragment "${fragment}" holds ${found} ${renew ?? ""}`, () => {
    const isTicket = fragment.startsWith("#ticket=");
    assert.deepEqual(fromFragment(fragment), found && { value: found, renew, isTicket });
  });
}

const PAGE = "https://files.example/up/?x=1";

for (const [path, url] of [
  ["/ticket", "https://files.example/ticket"],
  ["/app/ticket?for=1", "https://files.example/app/ticket?for=1"],
  ["/../../ticket", "https://files.example/ticket"],
  ["", null],
  ["ticket", null],
  ["//evil.example/ticket", null],
  ["/\\evil.example/ticket", null],
  ["/\t/evil.example/ticket", null],
  ["/\n\\evil.example", null],
  ["\\\\evil.example", null],
  ["https://evil.example/ticket", null],
  ["https://files.example/ticket", null],
  ["javascript:alert(1)", null],
  ["data:text/plain,a.b.c", null],
  ["@evil.example/", null],
]) {
  test(`the path ${JSON.stringify(path)} is asked for another ticket: ${url}`, () => {
    assert.equal(renewalOf(path, PAGE)?.href ?? null, url);
  });
}

for (const [text, ticket] of [
  ["a.b.c", "a.b.c"],
  [" a.b-_c\n", "a.b-_c"],
  ['{"ticket": "a.b.c"}', "a.b.c"],
  ['{"ticket": "a.b.c", "expires": 5}', "a.b.c"],
  ['{"token": "a.b.c"}', null],
  ['{"ticket": 5}', null],
  ['{"ticket": "a b"}', null],
  ["{", null],
  ["<!doctype html><title>Log in</title>", null],
  ["", null],
  ["a".repeat(8_193), null],
]) {
  test(`an answer holds a ticket, or none: ${text.slice(0, 40)}`, () => {
    assert.equal(ticketIn(text), ticket);
  });
}
