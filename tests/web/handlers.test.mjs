// Pages whose handlers call back: abort, pause, hold, add and retry from inside.

import assert from "node:assert/strict";
import { test } from "node:test";
import { CAN, begin, complete, fault, first, next, none } from "./resuming.mjs";
import { ScriptedFile, assertOver, quiet, stage, until } from "./stage.mjs";

const url = "ws://host/";
const SIZE = 300_000;
const BOTH = { ...CAN, can: ["resume", "next"], next: 100, whole: 1_000, room: 10_000 };

const files = (...sizes) =>
  sizes.map((size, index) => new ScriptedFile(size, { name: `f${index}` }));
const states = ({ files }) => files.map(({ state }) => state).join(" ");
const metadata = ({ sent }) => sent.filter(({ name }) => name).map(({ name }) => name);

/** Start `uploadAll`; `on` has handlers that are called with the Uploads, by name and state. */
function start(page, chosen, on, options) {
  let uploads = null;
  const onfile = (file) => {
    const key = `${file.name} ${file.state}`;
    const handler = on[key];
    delete on[key]; // once
    // Some are called while the constructor runs.
    if (handler) uploads ? handler(uploads, file) : queueMicrotask(() => handler(uploads, file));
  };
  const settings = { url, connections: 1, hash: "none", files: chosen, onfile, ...options };
  uploads = page.uploadAll(settings);
  return uploads;
}

async function agree(socket) {
  socket.open();
  socket.say({ ready: true, ...BOTH, offset: 0 });
  await until(() => socket.chunks.length > 0);
  socket.say({ ready: true });
  await until(() => socket.finished.length > 0);
  socket.say({ close: true });
  await quiet();
}

test("a file that is cancelled as it is taken is not sent", async () => {
  for (const name of ["f0", "f1", "f2"]) {
    const page = stage();
    const abort = (_, file) => file.abort();
    const uploads = start(page, files(10, 20, 30), { [`${name} sending`]: abort });
    const names = ["f0", "f1", "f2"].filter((each) => each !== name);
    await quiet();
    await agree(page.sockets[0]);
    for (let file = 1; file < names.length; file++) page.sockets[0].say({ close: true, file });
    await uploads.done;
    assert.deepEqual(metadata(page.sockets[0]), names);
    assertOver(page);
  }
});

test("a file that is paused as it is taken is not sent", async () => {
  for (const name of ["f0", "f1", "f2"]) {
    const page = stage();
    const pause = (_, file) => file.pause();
    const uploads = start(page, files(10, 20, 30), { [`${name} sending`]: pause });
    const names = ["f0", "f1", "f2"].filter((each) => each !== name);
    await quiet();
    await agree(page.sockets[0]);
    for (let file = 1; file < names.length; file++) page.sockets[0].say({ close: true, file });
    await quiet();
    assert.deepEqual(metadata(page.sockets[0]), names);
    assert.equal(uploads.files[Number(name[1])].state, "paused");
    assertOver(page);
    uploads.resume();
    await complete(page.sockets[1], uploads.files[Number(name[1])].size);
    page.sockets[1].say({ close: true });
    await uploads.done;
    assertOver(page);
  }
});

test("hold as a file is taken gives it back", async () => {
  for (const name of ["f0", "f1", "f2"]) {
    const page = stage();
    const uploads = start(page, files(10, 20, 30), { [`${name} sending`]: (all) => all.hold() });
    await quiet();
    if (name !== "f0") await agree(page.sockets[0]);
    await none(page);
    assertOver(page);
    const waiting = uploads.files.filter(({ state }) => state === "waiting");
    assert.ok(waiting.length >= 2, states(uploads));
    uploads.release();
    await agree(page.sockets[1]);
    page.sockets[1].say(...waiting.slice(1).map((_, index) => ({ close: true, file: index + 1 })));
    await uploads.done;
    assertOver(page);
  }
});

test("some or all files are cancelled or paused as others are given back", async () => {
  for (const method of ["abort", "pause"]) {
    for (const which of [[1, 2, 3, 4], [2], [3], [4], [1], [2, 4]]) {
      const page = stage();
      const on = {};
      const uploads = start(page, files(10, 2_000, 30, 40, 50), on);
      const [socket] = page.sockets;
      await agree(socket); // f1 waits for its ready, and the others behind it
      const chosen = which.map((index) => uploads.files[index]);
      for (const name of ["f2", "f3", "f4"]) on[`${name} waiting`] = (all) => all[method](chosen);
      uploads.hold();
      await quiet();
      socket.say({ ready: true, file: 1, offset: 0, keep: 1, chunksize: 2_000 });
      await quiet();
      const isAbandoned = socket.sent.some(({ abandon }) => abandon);
      socket.say(isAbandoned ? fault("abandoned", { file: 1, next: true }) : { close: true, file: 1 });
      await quiet();
      const end = method === "abort" ? "cancelled" : "paused";
      const of = (index) => (which.includes(index) ? end : index === 1 ? "stored" : "waiting");
      assert.equal(states(uploads), `stored ${[1, 2, 3, 4].map(of).join(" ")}`);
      uploads.abort();
      await uploads.done;
      await none(page);
      assertOver(page);
    }
  }
});

test("a handler may cancel all files as one of them loses the connection", async () => {
  for (const method of ["abort", "pause", "hold", "retry", "clear", "resume", "release"]) {
    const page = stage();
    const call = (all) => all[method](...(method === "retry" ? [all.files] : []));
    const on = {};
    const uploads = start(page, files(10, 2_000, SIZE, SIZE), on);
    const [socket] = page.sockets;
    await agree(socket);
    Object.assign(on, { "f1 interrupted": call, "f2 waiting": call });
    socket.say({ ready: true, file: 1, offset: 0, keep: 1, chunksize: 1_500 });
    await quiet();
    page.clock.advance(200);
    socket.drop();
    await quiet();
    const sockets = page.sockets.length;
    page.clock.advance(100);
    assert.equal(page.sockets.length, sockets, "not at once");
    if (method === "pause") uploads.resume();
    if (method === "hold") uploads.release();
    uploads.abort();
    await uploads.done;
    await quiet();
    for (const each of page.sockets.slice(1)) {
      each.open();
      each.say({ error: "It is gone.", fatal: true, code: "abandoned" });
    }
    await none(page);
    assertOver(page);
  }
});

test("files that are added when all have failed are tried, and those that failed too", async () => {
  const page = stage();
  const uploads = start(
    page,
    files(10, 20),
    { "f0 failed": (all, file) => all.retry([file]), "f1 failed": (all) => all.add(files(30)) },
    { retries: 0 },
  );
  page.sockets[0].break();
  await quiet();
  assert.equal(states(uploads).split(" ")[0], "sending");
  await agree(page.sockets[1]);
  const count = uploads.files.filter(({ state }) => state === "sending").length;
  for (let file = 1; file <= count; file++) page.sockets[1].say({ close: true, file });
  await uploads.done;
  assert.equal(states(uploads).split(" ")[0], "stored");
  await quiet();
  assertOver(page);
});

test("a page that retries each failed file at once does not keep itself busy", async () => {
  const page = stage();
  const onfile = (file) => file.state === "failed" && uploads.retry([file]);
  const uploads = page.uploadAll({ url, files: files(10), hash: "none", onfile });
  for (let count = 0; count < 12; count++) {
    const sockets = page.sockets.length;
    page.sockets.at(-1).break();
    await quiet();
    assert.ok(page.sockets.length <= sockets + 1);
    for (let ms = 0; ms < 5_000 && page.sockets.length === sockets; ms += 50) page.clock.advance(50);
  }
  assert.ok(page.clock.now > 5_000, String(page.clock.now));
  uploads.abort();
  await quiet();
  assertOver(page);
});

test("retry from onerror and from onretry", async () => {
  const page = stage();
  let calls = 0;
  const again = () => {
    calls += 1;
    uploads.retry(uploads.files);
    uploads.add(files(1));
  };
  const options = { onerror: again, onretry: again };
  const uploads = start(page, files(10), {}, options);
  page.sockets[0].open();
  page.sockets[0].say(fault("conflict"));
  await quiet();
  assert.equal(calls, 1);
  page.sockets.at(-1).break();
  await quiet();
  assert.equal(calls, 2);
  uploads.abort();
  await uploads.done;
  await quiet();
  assertOver(page);
});

test("abort from inside onretry and onprogress of an upload", async () => {
  for (const name of ["onretry", "onprogress"]) {
    const page = stage();
    let run = null;
    const options = { url, file: new ScriptedFile(SIZE), hash: "none", [name]: () => run.abort() };
    run = page.upload(options);
    await begin(page.sockets[0], { bytes: 100_000 });
    page.clock.advance(200);
    if (name === "onretry") page.sockets[0].drop();
    await assert.rejects(run.done, { code: "aborted" });
    await quiet();
    page.sockets.at(-1).open();
    page.sockets.at(-1).say(fault("abandoned"));
    await none(page);
    assertOver(page);
  }
});

test("pause from inside onretry and onprogress of an upload", async () => {
  for (const name of ["onretry", "onprogress"]) {
    const page = stage();
    let run = null;
    const options = { url, file: new ScriptedFile(SIZE), hash: "none", [name]: () => run.pause() };
    run = page.upload(options);
    await begin(page.sockets[0], { bytes: 100_000 });
    page.clock.advance(200);
    if (name === "onretry") page.sockets[0].drop();
    await none(page);
    assertOver(page);
    run.resume();
    run.abort();
    await run.done.catch(() => {});
  }
});

test("pause and abort of all files while their progress is told", async () => {
  for (const method of ["pause", "abort"]) {
    const page = stage();
    let isDue = false;
    const onfile = () => isDue && uploads[method]();
    const uploads = page.uploadAll({
      ...{ url, connections: 1, hash: "none", onfile },
      files: files(10, 20, 30, SIZE),
    });
    const [socket] = page.sockets;
    await agree(socket);
    socket.say({ ready: true, file: 3, offset: 0, keep: 1, chunksize: 100_000 });
    await quiet();
    isDue = true;
    page.clock.advance(200);
    isDue = false;
    socket.say({ close: true, file: 1 }, { close: true, file: 2 });
    await quiet();
    if (method === "abort") socket.say(fault("abandoned", { file: 3, next: true }));
    await quiet();
    assert.equal(states(uploads).split(" ").at(-1), method === "abort" ? "cancelled" : "paused");
    assertOver(page);
  }
});

test("a function for the token that throws is reported, and the server decides", async () => {
  const page = stage();
  const token = () => {
    throw new Error("of the page");
  };
  const uploads = start(page, files(10), {}, { token });
  page.sockets[0].open();
  assert.equal(page.reported.length, 1);
  page.sockets[0].say(fault("unauthorized"));
  await uploads.done;
  assert.equal(uploads.files[0].error.code, "unauthorized");
  page.reported.length = 0;
  await quiet();
  assertOver(page);
});

test("handlers that throw are reported, and end nothing", async () => {
  const page = stage();
  const fail = () => {
    throw new Error("of the page");
  };
  const handlers = { onfile: fail, onerror: fail, onretry: fail };
  const uploads = page.uploadAll({ url, files: files(10, SIZE), hash: "none", ...handlers });
  page.sockets[1].open();
  page.sockets[1].say(fault("conflict"));
  await begin(page.sockets[0], { bytes: 5 });
  page.sockets[0].drop();
  await complete(await next(page), 10, 5);
  page.sockets.at(-1).say({ close: true });
  await uploads.done;
  assert.equal(states(uploads), "stored failed");
  assert.ok(page.reported.length > 5);
  page.reported.length = 0;
  await quiet();
  assertOver(page);
});

test("a URL that cannot be used fails each file, and nothing waits for ever", async () => {
  const page = stage();
  const uploads = page.uploadAll({ url: "ftp://host/", files: files(1, 2, 3, 4, 5), hash: "none" });
  const results = await uploads.done;
  assert.deepEqual(results.map(({ code }) => code), Array(5).fill("connection_failed"));
  assertOver(page);
});

test("each change is told, and the end of each file once", async () => {
  const page = stage();
  const told = [];
  const onfile = ({ name, state }) => told.push(`${name} ${state}`);
  const uploads = page.uploadAll({
    ...{ url, connections: 1, hash: "none", onfile },
    files: files(SIZE, 20, 30),
  });
  await begin(page.sockets[0], { bytes: 100_000 });
  page.clock.advance(200);
  page.sockets[0].drop();
  await quiet();
  const socket = await next(page);
  socket.open();
  socket.say(first(SIZE, BOTH));
  await until(() => socket.finished.length === 3);
  socket.say(fault("conflict", { file: 1, next: true }), { close: true }, { close: true, file: 2 });
  await uploads.done;
  const way = (name) =>
    told.filter((each) => each.startsWith(name)).map((each) => each.split(" ")[1]);
  const once = (list) => list.filter((each, index) => each !== list[index - 1]);
  const long = ["waiting", "sending", "interrupted", "sending", "checking", "stored"];
  assert.deepEqual(once(way("f0")), long);
  assert.deepEqual(once(way("f1")), ["waiting", "sending", "failed"]);
  for (const end of ["f0 stored", "f1 failed", "f2 stored"]) {
    assert.equal(told.filter((each) => each === end).length, 1, end);
  }
  assertOver(page);
});
