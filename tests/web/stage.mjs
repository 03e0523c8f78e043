// Stands in for a browser: a scripted WebSocket, a clock that is moved by hand, script elements
// and Workers that run the real files. No network, and no waiting for time to pass.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import vm from "node:vm";

export const WEB = fileURLToPath(new URL("../../galileod/web/", import.meta.url));
export const BASE = "https://files.example/g/";
export const PAGE = "https://page.example/dir/index.html";

export const text = (name) => readFileSync(WEB + name, "utf8");

/** The parts of the client, joined in the order in which the daemon serves them. */
const served = readFileSync(`${WEB}../server/client_files.py`, "utf8");
const [, listed] = /PARTS: Final = \(([^)]*)\)/.exec(served);
const parts = [...listed.matchAll(/"(client\/\w+\.js)"/g)].map(([, name]) => text(name));
export const client = parts.join("");

const atBase = (url) => {
  assert.ok(url.startsWith(BASE), `outside of the base: ${url}`);
  const name = url.slice(BASE.length);
  const hash = name === "hash_worker.js" ? text("client/resumable_hash.js") : "";
  return hash + text(name);
};

export class Clock {
  now = 0;
  #timers = new Map();
  #last = 0;

  #add(run, delay, every) {
    this.#timers.set(++this.#last, { run, at: this.now + delay, every });
    return this.#last;
  }

  get globals() {
    return {
      setTimeout: (run, delay) => this.#add(run, delay, null),
      setInterval: (run, delay) => this.#add(run, delay, delay),
      clearTimeout: (id) => this.#timers.delete(id),
      clearInterval: (id) => this.#timers.delete(id),
      performance: { now: () => this.now },
    };
  }

  get open() {
    return this.#timers.size;
  }

  advance(ms) {
    const end = this.now + ms;
    for (;;) {
      const [id, timer] = [...this.#timers].sort((a, b) => a[1].at - b[1].at)[0] ?? [];
      if (!timer || timer.at > end) break;
      this.now = Math.max(this.now, timer.at);
      if (timer.every === null) this.#timers.delete(id);
      else timer.at += timer.every;
      timer.run();
    }
    this.now = end;
  }

  /** As when a computer wakes up: the time is gone, and each timer runs once. */
  jump(ms) {
    this.now += ms;
    for (const [id, timer] of [...this.#timers]) {
      if (timer.at > this.now) continue;
      if (timer.every === null) this.#timers.delete(id);
      else timer.at = this.now + timer.every;
      timer.run();
    }
  }
}

/** The global object with listeners of its own: Node's has none. */
export function globalWith(listeners) {
  const own = {
    addEventListener: (type, listener) => listeners.add(listener),
    removeEventListener: (type, listener) => listeners.delete(listener),
  };
  return new Proxy(globalThis, { get: (all, name) => own[name] ?? all[name] });
}

/**
 * A page with the client in it. `worker`: "runs", "throws", "fails" (an error event), or null
 * where the browser has none. `script`: whether script elements load. `random`: what decides on
 * the waits between attempts, from 0 to 1. `listeners` of the page are those for `online`.
 */
export function stage({ worker = null, script = true, random = Math.random() } = {}) {
  delete globalThis.hashwasm;
  const clock = new Clock();
  const page = { clock, sockets: [], workers: [], scripts: [], reported: [], copied: 0 };
  page.listeners = new Set();
  page.online = () => [...page.listeners].forEach((listener) => listener());

  class ScriptedWebSocket {
    readyState = 0;
    bufferedAmount = 0;
    fills = false; // whether what is sent stays in the buffer
    sent = [];
    closes = [];

    constructor(url) {
      if (!/^wss?:/.test(url)) throw new SyntaxError(`the scheme of ${url}`);
      this.url = url;
      page.sockets.push(this);
    }

    send(data) {
      assert.equal(this.readyState, 1, "sent on a WebSocket that is not open");
      const message = typeof data === "string" ? JSON.parse(data) : Buffer.from(data);
      if (this.fills && Buffer.isBuffer(message)) this.bufferedAmount += message.length;
      this.sent.push(message);
    }

    close(code) {
      this.closes.push(code);
      this.readyState = 2;
    }

    open() {
      this.readyState = 1;
      this.onopen?.({});
    }

    say(...signals) {
      for (const signal of signals) this.raw(JSON.stringify(signal));
    }

    raw(data) {
      if (this.readyState === 1) this.onmessage?.({ data });
    }

    drop(code = 1006, reason = "") {
      this.readyState = 3;
      this.onclose?.({ code, reason });
    }

    break() {
      this.readyState = 3;
      this.onerror?.({});
      this.onclose?.({ code: 1006, reason: "" });
    }

    get chunks() {
      return this.sent.filter((message) => Buffer.isBuffer(message));
    }

    get finished() {
      return this.sent.filter((message) => message.finished);
    }
  }

  class RealWorker {
    constructor(url) {
      if (worker === "throws") throw new Error("another origin");
      page.workers.push(this);
      this.url = url;
      this.ended = false;
      this.received = [];
      if (worker === "fails") {
        setImmediate(() => this.onerror({ message: "not found", preventDefault() {} }));
        return;
      }
      this.scope = {
        postMessage: (message, transfer) => {
          const data = structuredClone(message, { transfer });
          page.copied += message.value?.byteLength ?? 0; // what is transferred is gone here
          setImmediate(() => this.ended || this.onmessage({ data }));
        },
      };
      const importScripts = (library) => vm.runInThisContext(atBase(library));
      new Function("self", "importScripts", atBase(url))(this.scope, importScripts);
    }

    postMessage(message, transfer) {
      const data = worker === "fails" ? null : structuredClone(message, { transfer });
      this.received.push(data);
      setImmediate(() => this.ended || this.scope?.onmessage({ data }));
    }

    crash() {
      this.onerror({ message: "out of memory", preventDefault() {} });
    }

    terminate() {
      this.ended = true;
    }
  }

  const document = {
    baseURI: PAGE,
    createElement: () => ({ remove() {} }),
    head: {
      append(element) {
        page.scripts.push(element.src);
        setImmediate(() => {
          if (!script) return element.onerror({});
          vm.runInThisContext(atBase(element.src));
          return element.onload({});
        });
      },
    },
  };

  const globals = {
    ...clock.globals,
    WebSocket: ScriptedWebSocket,
    Worker: worker === null ? undefined : RealWorker,
    document,
    globalThis: globalWith(page.listeners),
    Math: Object.assign(Object.create(Math), { random: () => random }),
    reportError: (error) => page.reported.push(error),
    galileoFiles: () => ({
      worker: `${BASE}hash_worker.js`,
      library: (hashType) => `${BASE}vendor/hash-wasm/${hashType}.umd.min.js`,
    }),
  };
  const body = `"use strict";\n${client}\nreturn { upload, uploadAll, unfinished, GalileoSend, UploadError };`;
  Object.assign(page, new Function(...Object.keys(globals), body)(...Object.values(globals)));

  /** Start GalileoSend with every handler noted in `log`. */
  page.send = (file, options = {}) => {
    const log = [];
    const note =
      (name) =>
      (...values) =>
        log.push([name, ...values]);
    const handlers = {};
    for (const name of ["onchunk", "onerror", "onsuccess", "onfailure", "onclose"]) {
      handlers[name] = note(name);
    }
    const run = page.GalileoSend({ url: "ws://host/", file, ...handlers, ...options });
    return { ...run, log, socket: page.sockets.at(-1) };
  };
  return page;
}

/** Wait until something holds that only needs other promises to come true. */
export async function until(condition, what = condition) {
  for (let turns = 0; turns < 20_000; turns++) {
    if (condition()) return;
    await new Promise(setImmediate);
  }
  assert.fail(`never came: ${what}`);
}

/** Long enough for everything that needs no more than promises; only for ScriptedFile. */
export async function quiet() {
  for (let turns = 0; turns < 20; turns++) await new Promise(setImmediate);
}

/** A file whose reads are noted, and come true at once, or by hand where `held`. */
export class ScriptedFile {
  reads = [];

  constructor(size, { name = "file.bin", held = false } = {}) {
    Object.assign(this, { size, name, held });
  }

  arrayBuffer() {
    return this.slice(0, this.size).arrayBuffer();
  }

  slice(start, end) {
    return {
      arrayBuffer: () =>
        new Promise((resolve, reject) => {
          const give = (length = end - start) => resolve(new Uint8Array(length).buffer);
          this.reads.push({ start, end, length: end - start, give, refuse: reject });
          if (!this.held) give();
        }),
    };
  }
}

export const pattern = (size) => Buffer.from({ length: size }, (_, i) => (i * 31 + (i >> 8)) % 256);

export const fileOf = (bytes, name = "file.bin") => new File([bytes], name);

/** The server's side of an upload that goes well: one `ready` at a time. */
export async function serve(socket, ready = { ready: true }) {
  socket.open();
  for (let answers = 1; socket.finished.length === 0; answers++) {
    socket.say(ready);
    await until(() => socket.sent.length > answers, "an answer to a ready");
  }
  socket.say({ close: true });
}

/** Nothing of the page is left over: no timer, listener, connection or Worker. */
export function assertOver({ clock, listeners, sockets, workers, reported }) {
  clock.advance(5_000); // for closing handshakes
  assert.equal(clock.open, 0, "timers");
  assert.equal(listeners.size, 0, "listeners");
  const open = sockets.filter(({ closes, readyState }) => closes.length === 0 && readyState < 3);
  assert.equal(open.length, 0, "open connections");
  assert.ok(workers.every(({ ended }) => ended), "Workers");
  assert.deepEqual(reported, [], "exceptions in handlers");
}

/** The names of the handlers in a log. */
export const names = (log) => log.map(([name]) => name);

/** The end of a failed upload: the signals given to onfailure, once, followed by onclose. */
export function failure(run, earlier) {
  assert.deepEqual(names(run.log), [...earlier, "onfailure", "onclose"]);
  const signals = run.log.at(-2)[1];
  assert.ok(Array.isArray(signals) && signals.length > 0);
  for (const { error } of signals) assert.equal(typeof error, "string");
  return signals;
}

/** The metadata without what is for resuming; the key is checked. */
export function bare({ upload, modified, can, ...rest }) {
  if (upload !== undefined) assert.match(upload, /^[0-9a-f]{32}$/);
  return rest;
}
