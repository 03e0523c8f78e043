// Uploads that are remembered over reloads, with a scripted IndexedDB and scripted locks.

import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { begin, CAN, checkOf, complete, fault, first, next, none } from "./resuming.mjs";
import { assertOver, pattern, quiet, stage, until } from "./stage.mjs";

const SIZE = 1_100_000;
const KEY = "0123456789abcdef0123456789abcdef";
const DATA = pattern(SIZE);

/** A database that holds `records`; `opens`: "yes", "throws", "never", or "fails". */
class ScriptedDatabase {
  records = new Map();
  closed = 0;
  held = false; // whether transactions wait until `go`
  #waiting = [];

  constructor({ opens = "yes" } = {}) {
    this.opens = opens;
  }

  open() {
    if (this.opens === "throws") throw new DOMException("denied", "SecurityError");
    const request = { result: this };
    if (this.opens === "never") return request;
    setImmediate(() => (this.opens === "yes" ? request.onsuccess({}) : request.onerror({})));
    return request;
  }

  close() {
    this.closed += 1;
  }

  transaction() {
    const transaction = {
      objectStore: () => ({
        put: (record) => {
          const copy = structuredClone(record);
          return this.#run(transaction, () => this.records.set(copy.key, copy) && copy.key);
        },
        delete: (key) => this.#run(transaction, () => void this.records.delete(key)),
        getAll: () => this.#run(transaction, () => [...this.records.values()]),
      }),
    };
    return transaction;
  }

  #run(transaction, work) {
    const request = {};
    const run = () => {
      request.result = work();
      transaction.oncomplete?.({});
    };
    if (this.held) this.#waiting.push(run);
    else setImmediate(run);
    return request;
  }

  go() {
    this.held = false;
    for (const run of this.#waiting.splice(0)) setImmediate(run);
  }
}

/** Locks of the origin; `others` are those of other pages. */
class ScriptedLocks {
  others = new Set();
  own = new Set();
  slow = []; // functions that answer requests, if it is not null

  constructor({ fails = false, slow = false } = {}) {
    this.fails = fails;
    this.slow = slow ? [] : null;
  }

  request(name, options, granted) {
    if (this.fails) return Promise.reject(new DOMException("denied", "SecurityError"));
    return new Promise((resolve) => {
      const answer = async () => {
        if (this.others.has(name) || this.own.has(name)) return resolve(granted(null));
        this.own.add(name);
        await granted({ name });
        this.own.delete(name);
        return resolve();
      };
      if (this.slow) this.slow.push(answer);
      else setImmediate(answer);
    });
  }

  async query() {
    if (this.fails) throw new DOMException("denied", "SecurityError");
    return { held: [...this.own, ...this.others].map((name) => ({ name })) };
  }
}

const earlier = Object.getOwnPropertyDescriptor(globalThis, "navigator");

function setUp(database, locks = new ScriptedLocks()) {
  globalThis.indexedDB = database;
  Object.defineProperty(globalThis, "navigator", { value: { locks }, configurable: true });
  return stage();
}

afterEach(() => {
  delete globalThis.indexedDB;
  delete globalThis.navigator;
  if (earlier) Object.defineProperty(globalThis, "navigator", earlier);
});

const file = () => new File([DATA], "file.bin", { lastModified: 1_000 });
const url = "ws://host/";
const options = (more) => ({ url, file: file(), worker: false, resume: true, ...more });

const record = (more) => ({
  ...{ key: KEY, place: url, name: "file.bin", size: SIZE, modified: 1_000, folder: "" },
  ...{ handle: null, begun: 1, keep: 3600, sent: 500_000, states: [], expires: Infinity, ...more },
});

function databaseWith(...records) {
  const database = new ScriptedDatabase();
  for (const each of records) database.records.set(each.key, each);
  return database;
}

/** Serve an upload to its end; returns its metadata. */
async function store(page, socket, offset = 0) {
  await quiet();
  await complete(socket, SIZE, offset);
  socket.say({ close: true });
  await quiet();
  return socket.sent[0];
}

test("an upload that an earlier page has begun goes on by its key, and is forgotten", async () => {
  const database = databaseWith(record());
  const page = setUp(database);
  const run = page.upload(options());
  assert.equal((await store(page, page.sockets[0], 500_000)).upload, KEY);
  await run;
  assert.equal(database.records.size, 0);
  assertOver(page);
});

const OTHER = "f".repeat(32);
const inFolder = (folder) =>
  Object.defineProperty(file(), "webkitRelativePath", { value: `${folder}/file.bin` });

for (const [which, chosen, folder, records] of [
  ["chosen again in its folder", inFolder("june"), "june", [record({ folder: "june" })]],
  ["chosen again alone", file(), "june", [record({ folder: "june" })]],
  ["of an earlier version", file(), undefined, [record({ folder: undefined, path: "june/file.bin" })]],
  ["that has its namesake in another folder", file(), undefined,
    [record({ key: OTHER, folder: "may" }), record()]],
]) {
  test(`an upload goes on with the folder that it was begun with: a file ${which}`, async () => {
    const page = setUp(databaseWith(...records));
    const run = page.upload(options({ file: chosen }));
    const metadata = await store(page, page.sockets[0], 500_000);
    assert.deepEqual([metadata.upload, metadata.folder], [KEY, folder]);
    assert.equal(metadata.modified, 1_000);
    await run;
  });
}

test("a file of another folder is another upload", async () => {
  const page = setUp(databaseWith(record({ folder: "june" }), record({ key: OTHER })));
  const run = page.upload(options({ file: inFolder("may") }));
  const { upload, folder } = await store(page, page.sockets[0]);
  assert.ok(![KEY, OTHER].includes(upload));
  assert.equal(folder, "may");
  await run;
});

test("a file that is tried again keeps the folder of the key", async () => {
  const page = setUp(databaseWith(record({ folder: "june" })));
  const all = page.uploadAll({ url, files: [file()], worker: false, resume: true });
  await quiet();
  page.sockets[0].open();
  page.sockets[0].say(first(500_000, { chunksize: 10 }), fault("no_space", { kept: 60 }));
  await all.done;
  assert.equal(all.files[0].folder, "june");
  all.retry(all.files);
  const { upload, folder } = await store(page, await next(page), 500_000);
  assert.deepEqual([upload, folder], [KEY, "june"]);
});

test("the folder is listed, tells files apart, and is told when the upload is discarded", async () => {
  const page = setUp(databaseWith(record({ folder: "june" })));
  const [begun] = await page.unfinished({ url });
  assert.equal(begun.folder, "june");
  const matches = [inFolder("june"), file(), inFolder("may")].map((each) => begun.matches(each));
  assert.deepEqual(matches, [true, true, false]);
  assert.ok(!begun.matches(file(), "may"));
  const discarding = begun.discard();
  await quiet();
  page.sockets[0].open();
  const { folder, modified, abandon } = page.sockets[0].sent[0];
  assert.deepEqual([folder, modified, abandon], ["june", 1_000, true]);
  page.sockets[0].say(fault("abandoned"));
  assert.equal(await discarding, true);
});

for (const opens of ["throws", "fails"]) {
  test(`a database whose opening ${opens} is as none`, async () => {
    const page = setUp(new ScriptedDatabase({ opens }), new ScriptedLocks({ fails: true }));
    const run = page.upload(options());
    await store(page, page.sockets[0]);
    assert.equal((await run).size, SIZE);
    assert.deepEqual(await page.unfinished({ url }), []);
    assertOver(page);
  });
}

test("a database that never opens is waited for only a few seconds", async () => {
  const page = setUp(new ScriptedDatabase({ opens: "never" }));
  const run = page.upload(options());
  const list = page.unfinished({ url });
  page.sockets[0].open();
  await quiet();
  page.clock.advance(3_000);
  await quiet();
  assert.deepEqual(await list, []);
  await complete(page.sockets[0], SIZE);
  page.sockets[0].say({ close: true });
  await run;
  assertOver(page);
});

test("a database that stops to answer is waited for only a few seconds", async () => {
  const database = databaseWith(record());
  const page = setUp(database);
  database.held = true;
  const run = page.upload(options());
  page.sockets[0].open();
  await quiet();
  page.clock.advance(3_000);
  await quiet();
  await complete(page.sockets[0], SIZE);
  page.sockets[0].say({ close: true });
  await run;
  database.go();
  await quiet();
  assertOver(page);
});

test("a database that another page deletes or upgrades is closed", async () => {
  const database = databaseWith(record());
  const page = setUp(database);
  assert.equal((await page.unfinished({ url })).length, 1);
  database.onversionchange({});
  assert.equal(database.closed, 1);
  assert.equal((await page.unfinished({ url })).length, 1, "it is opened again");
});

test("locks that are denied do not stop an upload", async () => {
  const page = setUp(databaseWith(record()), new ScriptedLocks({ fails: true }));
  const run = page.upload(options());
  assert.equal((await store(page, page.sockets[0], 500_000)).upload, KEY);
  await run;
  assert.equal((await page.unfinished({ url })).length, 0);
});

const ODD = [
  { states: 5 },
  { states: [null] },
  { states: [{ at: "x", state: null }] },
  { sent: undefined },
  { sent: NaN },
  { folder: null },
  { folder: undefined, path: null },
  { key: "short" },
  { expires: "never" },
  { name: { toString: () => "file.bin" } },
];
for (const odd of ODD) {
  test(`a record of another version is left alone: ${Object.keys(odd)}`, async () => {
    const others = structuredClone(record({ ...odd, name: undefined }));
    if (!("name" in odd)) others.name = "file.bin";
    const database = databaseWith(others);
    const page = setUp(database);
    assert.deepEqual(await page.unfinished({ url }), []);
    const run = page.upload(options());
    assert.notEqual((await store(page, page.sockets[0])).upload, others.key);
    await run;
    assert.deepEqual([...database.records.keys()], [others.key]);
    assertOver(page);
  });
}

test("no credential of the URL is remembered", async () => {
  const database = new ScriptedDatabase();
  const page = setUp(database);
  const secret = "ws://anna:secret@host/up?token=secret#ticket=secret";
  const run = page.upload(options({ url: secret, token: "secret" }));
  await quiet();
  await begin(page.sockets[0], { bytes: 200_000 });
  await quiet();
  const [remembered] = database.records.values();
  assert.equal(remembered.place, "ws://host/up");
  assert.doesNotMatch(JSON.stringify(remembered), /secret|anna/);
  run.abort();
  await run.catch(() => {});
});

test("an upload that fails before it is locked is released nevertheless", async () => {
  const locks = new ScriptedLocks({ slow: true });
  const page = setUp(new ScriptedDatabase(), locks);
  const run = page.upload(options());
  await quiet();
  await begin(page.sockets[0], { bytes: 100_000 });
  page.sockets[0].say(fault("no_space", { kept: 60 }));
  await run.catch(() => {});
  for (const answer of locks.slow) answer();
  await quiet();
  assert.equal(locks.own.size, 0);
  assert.equal((await page.unfinished({ url })).length, 1);
});

test("a handle that cannot be stored does not bring an upload back that has ended", async () => {
  const database = new ScriptedDatabase();
  const page = setUp(database);
  const run = page.upload(options({ handle: () => {} }));
  page.sockets[0].open();
  await quiet();
  page.sockets[0].say(first(0, { chunksize: 10 }), fault("hash_mismatch"));
  await run.catch(() => {});
  await quiet();
  assert.equal(database.records.size, 0);
});

test("a file that is tried again does not take over what another page is sending", async () => {
  const database = new ScriptedDatabase();
  const locks = new ScriptedLocks();
  const page = setUp(database, locks);
  const all = page.uploadAll({ url, files: [file()], worker: false, resume: true });
  await quiet();
  await begin(page.sockets[0], { bytes: 200_000 });
  page.sockets[0].say(fault("no_space", { kept: 60 }));
  await all.done;
  await quiet();
  const key = page.sockets[0].sent[0].upload;
  locks.others.add(`galileo:${key}`);
  all.retry(all.files);
  const socket = await next(page);
  assert.notEqual((await store(page, socket)).upload, key);
  assert.equal(all.files[0].state, "stored");
});

test("what another page is sending is not discarded", async () => {
  const database = databaseWith(record());
  const locks = new ScriptedLocks();
  const page = setUp(database, locks);
  const [begun] = await page.unfinished({ url });
  locks.others.add(`galileo:${KEY}`);
  assert.equal(await begun.discard(), false);
  assert.equal(page.sockets.length, 0);
  assert.equal(database.records.size, 1);
});

test("a file that is chosen while its upload is discarded is sent anew", async () => {
  const database = databaseWith(record());
  const page = setUp(database);
  const [begun] = await page.unfinished({ url });
  const discarding = begun.discard();
  await quiet();
  const run = page.upload(options());
  await quiet();
  const [abandoning, socket] = page.sockets;
  assert.notEqual((await store(page, socket)).upload, KEY);
  abandoning.open();
  assert.equal(abandoning.sent[0].abandon, true);
  abandoning.say(fault("abandoned"));
  assert.equal(await discarding, true);
  await run;
  await quiet();
  assert.equal(database.records.size, 0);
  assertOver(page);
});
