// When connections are made, alone: with connections that do what the test says.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Clock, globalWith, quiet, text } from "./stage.mjs";

const parts = ["client/errors.js", "client/retry.js", "client/pool.js"].map(text).join("");
const source = `"use strict";\n${parts}\nreturn { Pool, MAX_LOSSES, RETRIES, FIRST_RETRIES };`;

const FAILED = { code: "connection_failed", error: "Not reached." };
const LOST = { code: "connection_lost", error: "Lost." };

/** A file on its way. */
class Transfer {
  losses = 0;
  mayGoOn = true;
  interrupts = [];
  failure = null;

  constructor(name) {
    this.name = name;
  }

  interrupt(isAnswered) {
    this.interrupts.push(isAnswered);
  }

  failWith(failure) {
    this.failure = failure;
  }
}

/** A Pool with a queue of so many files; `made` are its connections, as they were made. */
function make({ files = 1, ...settings } = {}) {
  const clock = new Clock();
  const listeners = new Set();
  const made = [];
  const waiting = Array.from({ length: files }, (_, index) => new Transfer(`f${index}`));
  const told = [];
  const given = [];

  class Connection {
    timeout = 60_000;
    doubts = 0;
    watch = { gotOn: false, doubt: () => (this.doubts += 1) };
    holds = 0;
    transfer = null;

    constructor(what, host) {
      Object.assign(this, { what, host, at: clock.now });
    }

    start() {
      made.push(this);
      this.transfer = this.host.take(this);
    }

    hold() {
      this.holds += 1;
    }

    open() {
      this.host.opened(this);
    }

    /** The end; what it had is lost, where there is a failure. */
    end(failure, isAway = false) {
      const { transfer } = this;
      this.transfer = null;
      if (failure && transfer) this.host.lost(transfer, isAway ? { ...failure, isAway } : failure);
      this.host.ended(this, failure);
    }

    /** No connection could be made. */
    fail() {
      this.end(FAILED, true);
    }

    answer() {
      this.transfer = null;
      this.host.gotThrough();
    }
  }

  const queue = {
    peek: () => (waiting.length > 0 ? { size: 1, url: "ws://host/", timeout: 60_000 } : null),
    take: () => waiting.shift(),
    putBack: (transfer) => waiting.unshift(transfer),
    interrupted: (transfer) => waiting.unshift(transfer),
    left: () => {},
    giveUp: (failure) => {
      given.push({ failure, at: clock.now });
      for (const transfer of waiting.splice(0)) transfer.failWith(failure);
    },
  };
  const globals = { ...clock.globals, Connection, globalThis: globalWith(listeners) };
  const client = new Function(...Object.keys(globals), source)(...Object.values(globals));
  const onretry = (attempt) => told.push(attempt);
  const options = { limit: 1, many: true, restarts: true, onretry, ...settings };
  const pool = new client.Pool(options, queue, () => 1);
  const online = () => [...listeners].forEach((listener) => listener());
  return { ...client, pool, clock, made, waiting, told, given, listeners, online };
}

const assertOver = ({ clock, listeners, pool }) => {
  assert.deepEqual([clock.open, listeners.size, pool.outage], [0, 0, null]);
};

test("as many connections as there are files, and no more than the limit", () => {
  for (const [files, count] of [[0, 0], [2, 2], [9, 3]]) {
    const { pool, made } = make({ files, limit: 3 });
    pool.fill();
    assert.equal(made.length, count);
  }
});

test("the next file gets the connection of one that has ended, at once", async () => {
  const all = make({ files: 2 });
  all.pool.fill();
  all.made[0].open();
  all.made[0].answer();
  all.made[0].end(null);
  await quiet();
  assert.equal(all.made.length, 2);
  assert.equal(all.pool.outage, null);
  all.made[1].open();
  all.made[1].answer();
  all.made[1].end(null);
  await quiet();
  assertOver(all);
});

test("a server that was never reached is tried three times, and told of each wait", async () => {
  const all = make({ files: 2, limit: 2 });
  all.pool.fill();
  for (let attempt = 1; attempt <= all.FIRST_RETRIES; attempt++) {
    for (const each of all.made.filter(({ transfer }) => transfer)) each.fail();
    await quiet();
    const { clock, pool } = all;
    const ms = 500 * 2 ** (attempt - 1);
    const error = { code: "connection_failed", reason: "Not reached." };
    assert.deepEqual(pool.outage, { attempt, at: clock.now + ms, error, wasConnected: false });
    assert.deepEqual(all.told.at(-1), { attempt, seconds: ms / 1000, error });
    const before = all.made.length;
    clock.advance(ms - 1);
    assert.equal(all.made.length, before);
    clock.advance(1);
    assert.equal(all.made.length, before + 1, "one that probes");
    assert.deepEqual(pool.outage, { attempt, at: null, error, wasConnected: false });
  }
  all.made.at(-1).fail();
  await quiet();
  assert.equal(all.told.length, all.FIRST_RETRIES);
  assert.equal(all.given.length, 1);
  assert.deepEqual(all.given[0].failure.code, "connection_failed");
  assertOver(all);
});

test("one that was reached once is tried for half a minute to a minute", async () => {
  const all = make();
  all.pool.fill();
  all.made[0].open();
  all.made[0].end(LOST);
  for (let attempt = 1; attempt <= all.RETRIES; attempt++) {
    await quiet();
    assert.equal(all.pool.outage.attempt, attempt);
    all.clock.advance(15_000);
    all.made.at(-1).fail();
  }
  assert.equal(all.given.length, 1);
  await quiet();
  assertOver(all);
});

test("several connections that are lost at once are one failure", async () => {
  const all = make({ files: 3, limit: 3 });
  all.pool.fill();
  for (const each of all.made) each.open();
  for (const each of all.made) each.end(LOST);
  await quiet();
  assert.equal(all.pool.outage.attempt, 1);
  assert.equal(all.told.length, 1);
  all.clock.advance(500);
  assert.equal(all.made.length, 4);
  all.made[3].open();
  assert.equal(all.made.length, 6, "with the server back, all are made again");
  assert.equal(all.pool.outage, null);
});

test("connections that are found lost one by one, while another probes, are one failure", async () => {
  const all = make({ files: 16, limit: 16 });
  all.pool.fill();
  for (const each of all.made) each.open();
  const old = [...all.made];
  old[0].end(LOST);
  await quiet();
  all.clock.advance(500);
  assert.equal(all.made.length, 17);
  for (const each of old.slice(1)) {
    each.end({ code: "timeout", error: "Silent." });
    await quiet();
    all.clock.advance(200);
  }
  assert.deepEqual(all.given, [], "the server may be back all the same");
  assert.deepEqual(all.told.map(({ attempt }) => attempt), [1]);
  all.made[16].open();
  assert.equal(all.made.length, 32);
  assert.equal(all.pool.outage, null);
});

test("what gets through lets the waits begin anew", async () => {
  const all = make();
  all.pool.fill();
  for (let round = 0; round < 30; round++) {
    const connection = all.made.at(-1);
    connection.open();
    connection.host.gotThrough();
    connection.transfer.losses = 0; // as a Transfer does that has more bytes there than before
    connection.end(LOST);
    await quiet();
    assert.equal(all.pool.outage.attempt, 1);
    all.clock.advance(500);
    assert.equal(all.made.length, round + 2);
  }
  assert.deepEqual(all.given, []);
});

test("a server that accepts connections and loses each does not keep the page busy", async () => {
  const all = make({ files: 1, retries: Infinity });
  all.pool.fill();
  const { clock, made } = all;
  const [file] = [made[0].transfer];
  while (made.at(-1).transfer) {
    made.at(-1).open();
    made.at(-1).end(LOST);
    await quiet();
    clock.advance(15_000);
  }
  const waits = made.slice(1).map(({ at }, index) => at - made[index].at);
  assert.ok(waits.every((ms) => ms >= 500));
  assert.equal(made.length, all.MAX_LOSSES + 1);
  assert.equal(file.failure.code, "connection_lost", "one file alone does not take them all for ever");
  await quiet();
  assertOver(all);
});

test("its waits grow too: nothing was done by a connection that was accepted", async () => {
  const all = make({ retries: Infinity });
  all.pool.fill();
  const waits = [];
  for (let round = 0; round < 6; round++) {
    all.made.at(-1).open();
    all.made.at(-1).end(LOST);
    await quiet();
    waits.push(all.told.at(-1).seconds);
    all.clock.advance(15_000);
  }
  assert.deepEqual(waits, [0.5, 1, 2, 4, 8, 15]);
});

test("with retries: 0 the first failure is the last one", async () => {
  for (const isOpened of [false, true]) {
    const all = make({ files: 3, retries: 0 });
    all.pool.fill();
    const { transfer } = all.made[0];
    if (isOpened) all.made[0].open();
    if (isOpened) all.made[0].end(LOST);
    else all.made[0].fail();
    await quiet();
    assert.equal(transfer.failure.code, isOpened ? "connection_lost" : "connection_failed");
    assert.deepEqual([all.waiting.length, all.made.length, all.told.length], [0, 1, 0]);
    assertOver(all);
  }
});

test("with retries: Infinity a server that is away is waited for, for hours", async () => {
  const all = make({ retries: Infinity });
  all.pool.fill();
  const { transfer } = all.made[0];
  for (let attempt = 1; attempt <= 1_000; attempt++) {
    all.made.at(-1).fail();
    all.clock.advance(15_000);
  }
  assert.deepEqual([all.given, transfer.failure, transfer.losses], [[], null, 0]);
  assert.equal(all.clock.open, 0);
});

test("while other connections are open the failures of one end nothing", async () => {
  const all = make({ files: 2, limit: 2, retries: 1 });
  all.pool.fill();
  all.made[0].open();
  for (let count = 0; count < 5; count++) {
    all.made.at(-1).fail();
    await quiet();
    assert.equal(all.pool.outage, null, "there is a connection");
    all.clock.advance(15_000);
  }
  assert.deepEqual(all.given, []);
});

test("with the network back the next attempt is made at once, and what is open is doubted", async () => {
  const all = make({ files: 2, limit: 2 });
  all.pool.fill();
  all.made[0].open();
  all.made[1].fail();
  await quiet();
  all.online();
  assert.equal(all.made[0].doubts, 1);
  assert.equal(all.made.length, 3);
  assert.equal(all.clock.open, 0, "the timer is gone");
  all.online();
  assert.equal(all.made.length, 3, "not another one beside the attempt");
  assert.deepEqual([all.made[0].doubts, all.made[2].doubts], [2, 1]);
});

test("the page that takes its files away ends the outage, and nothing is left over", async () => {
  for (const when of ["at once", "at the next attempt"]) {
    const all = make({ files: 2 });
    all.pool.fill();
    all.made[0].fail();
    await quiet();
    all.waiting.length = 0;
    if (when === "at once") all.pool.fill();
    else all.clock.advance(500);
    await quiet();
    assert.equal(all.made.length, 1);
    assertOver(all);
  }
});

test("nobody is told of a wait that no file is in", async () => {
  const all = make();
  all.pool.fill();
  all.made[0].open();
  all.made[0].transfer.mayGoOn = false;
  all.made[0].end(LOST);
  await quiet();
  assert.deepEqual(all.told, []);
  assertOver(all);
});

test("onretry may take the files away, or throw", async () => {
  const onretry = () => {
    all.waiting.length = 0;
    all.pool.fill();
    throw new Error("of the page");
  };
  const all = make({ onretry });
  const { reportError } = globalThis;
  globalThis.reportError = () => {};
  all.pool.fill();
  all.made[0].fail();
  await quiet();
  globalThis.reportError = reportError;
  assertOver(all);
});

test("a connection without a file that ends the outage by its end lets the others go on", async () => {
  const all = make({ files: 2, limit: 2 });
  all.pool.fill();
  for (const each of [...all.made]) each.fail();
  await quiet();
  all.clock.advance(500);
  all.made[2].end(null); // its file was cancelled while it was made
  await quiet();
  assert.equal(all.made.length, 4, "the next one probes");
});

test("a file may lose so many connections, without anything got through, and no more", async () => {
  for (const [retries, most] of [[undefined, 7], [2, 2], [100, 20], [Infinity, 20]]) {
    const all = make({ files: 2, limit: 2, retries });
    all.pool.fill();
    for (const each of all.made) each.open();
    const { transfer } = all.made[1];
    let lost = 0;
    while (transfer.failure === null) {
      all.made.find((each) => each.transfer === transfer).end(LOST);
      lost += 1;
      await quiet();
      all.clock.advance(15_000);
      all.made.at(-1).open();
    }
    assert.equal(lost, most + 1);
    assert.deepEqual(all.given, [], "the other file is not concerned");
  }
});

test("a server that takes nothing now says nothing about the file", async () => {
  for (const code of ["busy", "shutting_down", "connection_failed"]) {
    const all = make({ retries: Infinity });
    all.pool.fill();
    const { transfer } = all.made[0];
    for (let count = 0; count < 50; count++) {
      all.made.at(-1).open();
      all.made.at(-1).end({ code, error: "Later." });
      await quiet();
      all.clock.advance(15_000);
    }
    assert.deepEqual([transfer.losses, transfer.failure], [0, null], code);
  }
});

test("a failure for which the protocol has no further attempt ends the file at once", async () => {
  for (const code of ["taken_over", "conflict", "quota_exceeded", "unauthorized", "bad_message"]) {
    const all = make();
    all.pool.fill();
    const { transfer } = all.made[0];
    all.made[0].open();
    all.made[0].end({ code, error: "No." });
    assert.equal(transfer.failure.code, code);
    assert.deepEqual(transfer.interrupts, []);
  }
});

test("patience: 10 s, twice as long for a server that was only slow, up to the timeout", async () => {
  const all = make({ retries: Infinity });
  const silent = { code: "timeout", error: "Silent." };
  all.pool.fill();
  const patience = () => all.made.at(-1).host.patience();
  const step = async (isOpened, gotOn, failure = silent) => {
    const connection = all.made.at(-1);
    connection.watch.gotOn = gotOn;
    if (isOpened) connection.open();
    connection.end(failure);
    await quiet();
    all.clock.advance(15_000);
    return patience();
  };
  assert.equal(patience(), 10_000);
  assert.equal(await step(true, true), 10_000, "it worked before: the line was cut");
  assert.equal(await step(true, false), 20_000);
  assert.equal(await step(true, false, LOST), 20_000);
  assert.equal(await step(true, false), 40_000);
  assert.equal(await step(true, false), 60_000);
  assert.equal(await step(true, false), 60_000);
  assert.equal(await step(false, false), 10_000, "it is gone");
});

test("hold is for all connections, those that it ends too", () => {
  const all = make({ files: 3, limit: 3 });
  all.pool.fill();
  for (const each of all.made) {
    each.hold = () => {
      each.holds += 1;
      each.end(null);
    };
  }
  all.pool.hold();
  assert.deepEqual(all.made.map(({ holds }) => holds), [1, 1, 1]);
});

test("files that are added when all was given up are tried anew, from the first attempt on", async () => {
  const all = make({ retries: 1 });
  all.pool.fill();
  all.made[0].fail();
  all.clock.advance(500);
  all.made[1].fail();
  assert.equal(all.given.length, 1);
  all.waiting.push(new Transfer("later"));
  all.pool.fill();
  assert.equal(all.made.length, 3);
  all.made[2].fail();
  await quiet();
  assert.equal(all.pool.outage.attempt, 1);
});
