// Remembers uploads that have begun, in IndexedDB, so that a later page can go on with them. The
// records have what the server needs to know the upload again, and what saves reading the file
// again; never a token.

const DATABASE = "galileo";
const STORE = "uploads";
const MIN_REMEMBERED = 2 ** 20; // bytes of a file; servers keep no smaller ones
const NOTE_EVERY = 5_000; // ms between two notes of how far an upload is

let database; // a promise of the database; of null if the browser has none for this page

function openDatabase() {
  database ??= new Promise((resolve) => {
    if (typeof indexedDB !== "object") return resolve(null);
    const opening = indexedDB.open(DATABASE, 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore(STORE, { keyPath: "key" });
    opening.onsuccess = () => resolve(opening.result);
    opening.onerror = () => resolve(null); // forbidden: the upload works without
    return undefined;
  });
  return database;
}

/** Run `work(store)`, which returns a request; the promise is of its result, null if it fails. */
async function inStore(mode, work) {
  const opened = await openDatabase();
  if (!opened) return null;
  return new Promise((resolve) => {
    try {
      const transaction = opened.transaction(STORE, mode);
      const request = work(transaction.objectStore(STORE));
      transaction.oncomplete = () => resolve(request.result);
      transaction.onerror = transaction.onabort = () => resolve(null); // no room: see openDatabase
    } catch {
      resolve(null); // closed by the browser, or the handle cannot be stored
    }
  });
}

/** The records of uploads to this server that it still keeps; the others are removed. */
async function begunUploads(url) {
  const records = (await inStore("readonly", (store) => store.getAll())) ?? [];
  const over = records.filter(({ expires }) => expires <= Date.now());
  for (const { key } of over) inStore("readwrite", (store) => store.delete(key));
  const place = placeOf(url);
  return records.filter((record) => record.place === place && !over.includes(record));
}

/** The URL without its query, which may have a credential. */
function placeOf(url) {
  return webSocketURL(url).split("?")[0];
}

/** A file that is chosen alone may be one of a folder before. */
const isOfFile = (record, { name, size, lastModified }, path) =>
  record.name === name &&
  record.size === size &&
  record.modified === lastModified &&
  (record.path === path || path === "");

const pathOf = (file) => file.webkitRelativePath ?? "";

const held = new Set(); // keys of the uploads of this page

/**
 * Take an upload for this page. Returns a function that releases it, or null if another page, or
 * this one, has it. Where the browser has no locks, two pages may have it; then the server lets the
 * newer one continue.
 */
async function takeUpload(key) {
  if (held.has(key)) return null;
  held.add(key);
  const { locks } = globalThis.navigator ?? {};
  if (!locks) return () => held.delete(key);
  return new Promise((resolve) => {
    const granted = (lock) => {
      if (!lock) {
        held.delete(key);
        return resolve(null);
      }
      return new Promise((release) => {
        resolve(() => {
          held.delete(key);
          release();
        });
      });
    };
    locks.request(`galileo:${key}`, { ifAvailable: true }, granted);
  });
}

/** The upload of this file that another page has begun, taken for this one; null if there is none. */
async function recallUpload(settings) {
  const { file, name, size, modified, url } = settings;
  if (size < MIN_REMEMBERED) return null;
  for (const record of await begunUploads(url)) {
    if (!isOfFile(record, { name, size, lastModified: modified }, pathOf(file))) continue;
    const release = await takeUpload(record.key);
    if (release) return new BegunUpload(settings, record.key, { record, release });
  }
  return null;
}

/** An upload of this page that is remembered. */
class BegunUpload {
  key;
  states = []; // of the hash
  #record;
  #release = null; // null until the upload is taken
  #taking = null;
  #noted = 0; // when, by the clock of `performance`
  #isForgotten = false;

  constructor({ url, file, name, size, modified, handle }, key, { record, release } = {}) {
    this.key = key;
    this.states = record?.states ?? [];
    this.#release = release ?? null;
    const begun = record?.begun ?? Date.now();
    const place = placeOf(url);
    this.#record = { key, place, name, size, modified, path: pathOf(file), handle, begun };
    this.#record.handle ??= record?.handle ?? null;
  }

  /** The server keeps the upload for `keep` seconds after each connection, and has `sent` bytes. */
  save(keep, sent, states) {
    this.#record.keep = keep;
    this.#taking ??= this.#release ? null : takeUpload(this.key);
    this.#taking?.then((release) => {
      this.#release = release;
      if (this.#isForgotten) this.release();
    });
    this.#put(sent, states);
  }

  /** Note that `sent` bytes are sent, now and then; `states()` is a promise of those of the hash. */
  async note(sent, states) {
    const now = performance.now();
    if (now - this.#noted < NOTE_EVERY) return;
    this.#noted = now;
    const saved = await states();
    if (!this.#isForgotten) this.#put(sent, saved);
  }

  #put(sent, states) {
    const expires = Date.now() + this.#record.keep * 1000;
    const record = { ...this.#record, sent, states, expires };
    inStore("readwrite", (store) => store.put(record)).then((done) => {
      // A handle that cannot be stored is left out.
      if (done !== null || !record.handle) return;
      this.#record.handle = null;
      inStore("readwrite", (store) => store.put({ ...record, handle: null }));
    });
  }

  /** Another page may go on. */
  release() {
    this.#release?.();
    this.#release = null;
  }

  /** The upload has ended. */
  forget() {
    this.#isForgotten = true;
    inStore("readwrite", (store) => store.delete(this.key));
    this.release();
  }
}

/** The uploads to `url` that have begun, and not ended, and that no page is sending. */
async function unfinished({ url }) {
  const records = await begunUploads(url);
  const locked = (await globalThis.navigator?.locks?.query())?.held.map((lock) => lock.name) ?? [];
  return records
    .filter(({ key }) => !held.has(key) && !locked.includes(`galileo:${key}`))
    .map((record) => {
      const { key, name, size, modified, sent, begun, path, handle } = record;
      return {
        ...{ name, size, modified, sent, begun, path, handle },
        matches: (file) => isOfFile(record, file, pathOf(file)),
        async discard({ token } = {}) {
          const metadata = { name, size, modified, token, upload: key };
          await abandonUpload(url, { ...metadata, can: ["resume"], abandon: true });
          await inStore("readwrite", (store) => store.delete(key));
        },
      };
    });
}
