// A token that is not valid any more does not end the uploads: the page's function is asked again.

import assert from "node:assert/strict";
import { test } from "node:test";
import { BOTH, agree, begin, complete, fault, first, next, none, states } from "./resuming.mjs";
import { ScriptedFile, assertOver, quiet, stage, until } from "./stage.mjs";

const OPTIONS = { url: "ws://host/", connections: 1, hash: "none" };
const UNAUTHORIZED = fault("unauthorized");

const files = (count, size = 10) =>
  Array.from({ length: count }, (_, index) => new ScriptedFile(size, { name: `f${index}` }));

/** What was sent of each file, with its token. */
const sent = ({ sockets }) =>
  sockets.flatMap((socket) =>
    socket.sent.filter(({ name }) => name).map(({ name, token }) => `${name} ${token}`),
  );

/** A function of a page whose answers come by hand; `asked` has the tokens that it shall replace. */
function asking() {
  const asked = [];
  const waiting = [];
  const token = (file, old) => {
    asked.push(old);
    return new Promise((resolve, reject) => waiting.push({ resolve, reject }));
  };
  const give = async (value) => {
    waiting.shift().resolve(value);
    await quiet();
  };
  const fail = async () => {
    waiting.shift().reject(new Error("No network."));
    await quiet();
  };
  return { asked, token, give, fail };
}

function start(chosen, options) {
  const page = stage({ random: 0 });
  const uploads = page.uploadAll({ ...OPTIONS, files: chosen, ...options });
  return { page, uploads, socket: page.sockets[0] };
}

const ticketUntil = (ms) => {
  const claims = Buffer.from(JSON.stringify({ exp: (Date.now() + ms) / 1000 })).toString("base64url");
  return `head.${claims}.sign`;
};

test("a promise of a token is waited for, and its token is for all files", async () => {
  const { asked, token, give } = asking();
  const { page, uploads, socket } = start(files(3), { token });
  socket.open();
  await quiet();
  assert.equal(socket.sent.length, 0);
  page.clock.advance(70_000);
  assert.equal(socket.closes.length, 0, "it is not the server that is silent");
  await give("a");
  await agree(socket, BOTH);
  for (const file of [1, 2]) socket.say({ close: true, file });
  await uploads.done;
  assert.deepEqual(asked, [undefined]);
  assert.deepEqual(sent(page), ["f0 a", "f1 a", "f2 a"]);
  assertOver(page);
});

test("after a refusal on the way the files go on with another token, by their keys", async () => {
  const { asked, token, give } = asking();
  const { page, uploads, socket } = start(files(3), { token });
  socket.open();
  await give("a");
  await agree(socket, BOTH);
  for (const file of [1, 2]) socket.say({ ...UNAUTHORIZED, file, next: true });
  await quiet();
  assert.equal(states(uploads), "stored sending sending");
  assert.deepEqual(asked, [undefined, "a"], "one call for all");
  await give("b");
  assert.deepEqual(sent(page), ["f0 a", "f1 a", "f2 a", "f1 b", "f2 b"]);
  const keys = socket.sent.filter(({ name }) => name).map(({ name, upload }) => name + upload);
  assert.equal(new Set(keys).size, 3);
  for (const file of [3, 4]) socket.say({ close: true, file });
  await uploads.done;
  assert.equal(states(uploads), "stored stored stored");
  assert.ok(uploads.files.every(({ mayBeStored }) => !mayBeStored));
  assertOver(page);
});

test("all connections wait for one call", async () => {
  const { asked, token, give } = asking();
  const { page, uploads } = start(files(6), { token, connections: 3 });
  for (const socket of page.sockets) socket.open();
  await give("a");
  for (const socket of page.sockets) socket.say(UNAUTHORIZED);
  await quiet();
  for (const socket of page.sockets.slice(3)) socket.open();
  await quiet();
  assert.deepEqual(asked, [undefined, "a"]);
  await give("b");
  assert.deepEqual(sent(page).slice(3).map((each) => each.slice(-1)), ["b", "b", "b"]);
  uploads.abort();
});

test("a large file goes on where it was", async () => {
  const { token, give } = asking();
  const { page, uploads, socket } = start(files(1, 500_000), { token });
  socket.open();
  await give("a");
  socket.say(first(0, { chunksize: 100_000 }));
  await until(() => socket.chunks.length > 0);
  socket.say(fault("unauthorized", { kept: 60 }));
  const second = await next(page);
  second.open();
  await give("b");
  assert.equal(second.sent[0].upload, socket.sent[0].upload);
  assert.equal(second.sent[0].token, "b");
  await complete(second, 500_000, 100_000);
  second.say({ close: true });
  await uploads.done;
  assert.equal(states(uploads), "stored");
});

for (const [what, answer] of [["nothing", undefined], ["the same token", "a"], ["null", null]]) {
  test(`a function that then gives ${what} ends the files, with the error of the server`, async () => {
    const { asked, token, give } = asking();
    const { page, uploads, socket } = start(files(3), { token });
    socket.open();
    await give("a");
    socket.say(UNAUTHORIZED);
    const second = await next(page);
    second.open();
    await give(answer);
    assert.equal(states(uploads), "failed failed failed");
    assert.equal(uploads.files[0].error.reason, "It is unauthorized.");
    assert.deepEqual(asked, [undefined, "a"]);
    await none(page);
    assertOver(page);
  });
}

test("a server that refuses every token is asked a few times only", async () => {
  let count = 0;
  const { page, uploads } = start(files(3), { token: async () => `t${(count += 1)}` });
  for (let attempts = 0; uploads.active; attempts++) {
    assert.ok(attempts < 10);
    const socket = page.sockets.at(-1);
    if (socket.readyState === 0) socket.open();
    await quiet();
    socket.say(UNAUTHORIZED);
    await quiet();
  }
  assert.deepEqual(sent(page), ["f0 t1", "f0 t2", "f0 t3", "f0 t4"]);
  assert.equal(states(uploads), "failed failed failed");
  uploads.retry(uploads.files.slice(0, 1));
  const socket = await next(page);
  await agree(socket);
  assert.equal(states(uploads), "stored failed failed");
});

test("a promise that is rejected is asked for again after a wait, a few times", async () => {
  const { asked, token, fail, give } = asking();
  const { page, uploads, socket } = start(files(2), { token });
  socket.open();
  await quiet();
  for (let attempts = 1; attempts < 5; attempts++) {
    await fail();
    page.clock.advance(4_000);
    await quiet();
    assert.equal(asked.length, attempts + 1);
  }
  assert.doesNotMatch(states(uploads), /failed/);
  await fail();
  assert.equal(states(uploads), "failed failed");
  const { code, reason, cause } = uploads.files[0].error;
  assert.equal(code, "unauthorized");
  assert.equal(reason, "The page has no token for the upload: No network.");
  assert.equal(cause.message, "No network.");
  uploads.retry(uploads.files);
  const second = await next(page);
  second.open();
  await give("a");
  await agree(second, BOTH);
  second.say({ close: true, file: 1 });
  await uploads.done;
  assert.equal(states(uploads), "stored stored");
});

test("a ticket that expires soon is replaced before the server refuses it", async () => {
  const { asked, token, give } = asking();
  const soon = ticketUntil(20_000);
  let now = soon;
  const chosen = files(3);
  const { page, uploads, socket } = start(chosen, {
    token: (file, old) => (old === undefined ? now : token(file, old)),
  });
  socket.open();
  await quiet();
  assert.deepEqual(asked, [soon]);
  now = ticketUntil(3_600_000);
  await give(now);
  await agree(socket, BOTH);
  for (const file of [1, 2]) socket.say({ close: true, file });
  await uploads.done;
  assert.deepEqual(asked, [soon]);
  assert.deepEqual(sent(page), chosen.map(({ name }) => `${name} ${now}`));
});

test("a ticket that expires soon is used if there is no other one, and not asked for again", async () => {
  for (const give of ["give", "fail"]) {
    const page = asking();
    const soon = ticketUntil(10_000);
    const token = (file, old) => (old === undefined ? soon : page.token(file, old));
    const { uploads, socket } = start(files(2), { token });
    socket.open();
    await quiet();
    await page[give]();
    await agree(socket, BOTH);
    socket.say({ close: true, file: 1 });
    await uploads.done;
    assert.deepEqual(page.asked, [soon]);
    assert.equal(states(uploads), "stored stored");
  }
});

test("tickets that always expire soon are asked for once", async () => {
  let count = 0;
  const token = async () => {
    count += 1;
    return ticketUntil(-5_000);
  };
  const { uploads, socket } = start(files(3), { token });
  socket.open();
  await quiet();
  await agree(socket, BOTH);
  for (const file of [1, 2]) socket.say({ close: true, file });
  await uploads.done;
  assert.equal(count, 1);
});

test("a function that gives strings is called for each file, and again after a refusal", async () => {
  const calls = [];
  const token = ({ name }, old) => {
    calls.push(`${name} ${old}`);
    return old ? `${old}+` : name;
  };
  const { page, uploads, socket } = start(files(2), { token });
  await agree(socket, BOTH);
  socket.say({ ...UNAUTHORIZED, file: 1, next: true });
  await quiet();
  assert.deepEqual(calls, ["f0 undefined", "f1 undefined", "f1 f1"]);
  assert.deepEqual(sent(page), ["f0 f0", "f1 f1", "f1 f1+"]);
  socket.say({ close: true, file: 2 });
  await uploads.done;
  assert.equal(states(uploads), "stored stored");
});

test("one file alone goes on with another token too", async () => {
  const { asked, token, give } = asking();
  const page = stage();
  const run = page.upload({ url: "ws://host/", file: files(1)[0], hash: "none", token });
  page.sockets[0].open();
  await give("a");
  page.sockets[0].say(UNAUTHORIZED);
  const second = await next(page);
  second.open();
  await give("b");
  assert.equal(second.sent[0].token, "b");
  second.say(first(0), { ready: true });
  await until(() => second.finished.length > 0);
  second.say({ close: true });
  assert.equal((await run).size, 10);
  assert.deepEqual(asked, [undefined, "a"]);
  assertOver(page);
});

test("the original interface fails with a token as before, and goes on with a function", async () => {
  const page = stage();
  const run = page.send(files(1)[0], { token: "a" });
  run.socket.open();
  run.socket.say(UNAUTHORIZED);
  await run.done.catch(() => {});
  assert.deepEqual(run.log.map(([name]) => name).slice(0, 2), ["onerror", "onfailure"]);
  await none(page);
  const other = page.send(files(1)[0], { token: (file, old) => (old ? "b" : "a"), hash: "none" });
  other.socket.open();
  other.socket.say(UNAUTHORIZED);
  const second = await next(page);
  await begin(second, { bytes: 10 });
  assert.equal(second.sent[0].token, "b");
  other.abort();
});

test("a file that is cancelled while a token is waited for is not sent", async () => {
  const { token, give } = asking();
  const { page, uploads, socket } = start(files(2), { token });
  socket.open();
  await quiet();
  uploads.abort();
  await give("a");
  assert.equal(states(uploads), "cancelled cancelled");
  assert.equal(socket.sent.length, 0);
  assertOver(page);
});
