// Remembers uploads that have begun, in IndexedDB, so that a later page can go on with them. The
// records have what the server needs to know the upload again, and what saves reading the file
// again; never a token.

const DATABASE = "galileo";
const STORE = "uploads";
const MIN_REMEMBERED = 2 ** 20; // bytes of a file; servers keep no smaller ones
const NOTE_EVERY = 5_000; // ms between two notes of how far an upload is
const STORE_TIMEOUT = 3_000; // ms for the database: another page or the browser may block it

let database; // a promise of the database; of null if the browser has none for this page

function openDatabase() {
  database ??= new Promise((resolve) => {
    const timer = setTimeout(() => resolve(null), STORE_TIMEOUT);
    const opened = (result) => {
      clearTimeout(timer);
      if (result) database = Promise.resolve(result); // also behind the timeout
      resolve(result);
    };
    try {
      const opening = indexedDB.open(DATABASE, 1);
      opening.onupgradeneeded = () => opening.result.createObjectStore(STORE, { keyPath: "key" });
      opening.onsuccess = () => opened(shared(opening.result));
      opening.onerror = () => opened(null); // forbidden: the upload works without
    } catch {
      opened(null); // there is none, or the page is in a sandbox
    }
  });
  return database;
}

/** The database: closed when another page deletes or upgrades it, which waits for that. */
function shared(opened) {
  const forget = () => {
    database = undefined; // it is opened again when it is needed
  };
  opened.onclose = forget;
  opened.onversionchange = () => {
    opened.close();
    forget();
  };
  return opened;
}

/** Run `work(store)`, which returns a request; the promise is of its result, null if it fails. */
async function inStore(mode, work) {
  const opened = await openDatabase();
  if (!opened) return null;
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve(null), STORE_TIMEOUT);
    const end = (result) => {
      clearTimeout(timer);
      resolve(result);
    };
    try {
      const transaction = opened.transaction(STORE, mode);
      const request = work(transaction.objectStore(STORE));
      transaction.oncomplete = () => end(request.result);
      transaction.onerror = transaction.onabort = () => end(null); // no room: see openDatabase
    } catch {
      end(null); // closed by the browser, or the handle cannot be stored
    }
  });
}

/** The records of uploads to this server that it may still keep; the others are removed. */
async function begunUploads(url) {
  const all = (await inStore("readonly", (store) => store.getAll())) ?? [];
  const records = all.map(current).filter(isRecord);
  const over = records.filter(({ expires }) => expires <= Date.now());
  for (const { key } of over) inStore("readwrite", (store) => store.delete(key));
  const place = placeOf(url);
  return records.filter((record) => record.place === place && !over.includes(record));
}

/**
 * Forget an upload, and let the server discard it. If the server cannot be reached now, the record
 * stays, and the next call of `unfinished` tries again. Returns a promise that resolves when that is
 * noted. `release` ends the hold of this page.
 */
async function discardBegun(url, record, token, release) {
  const { key, name, size, modified } = record;
  const folder = record.folder || undefined;
  await inStore("readwrite", (store) => store.put({ ...record, isDiscarded: true }));
  const abandoning = abandonUpload(url, { name, size, folder, modified, token, upload: key });
  abandoning.then(async (isGone) => {
    if (isGone) await inStore("readwrite", (store) => store.delete(key));
    release();
  });
}

/** A record as this version writes it. Earlier ones had a `path`, and sent no folder. */
const current = ({ path, ...record }) =>
  typeof path === "string" ? { ...record, folder: "" } : record;

/** Whether a record is as this version of the client writes them. */
function isRecord({ key, place, name, folder, size, sent, begun, expires, states }) {
  return (
    /^[0-9a-f]{32}$/.test(key) &&
    [place, name, folder].every((each) => typeof each === "string") &&
    [size, sent, begun, expires].every((each) => each >= 0) &&
    Array.isArray(states) &&
    states.every((each) => each?.at > 0 && each.state instanceof Uint8Array)
  );
}

/** The URL without its user and its query, which may have a credential. */
function placeOf(url) {
  const { protocol, host, pathname } = new URL(webSocketURL(url));
  return `${protocol}//${host}${pathname}`;
}

/** A file that is chosen alone, without a folder, may be one of a folder before. */
const isOfFile = (record, { name, size, folder, modified }) =>
  record.name === name &&
  record.size === size &&
  record.modified === modified &&
  (record.folder === folder || folder === "");

const held = new Set(); // keys of the uploads of this page

/**
 * Take an upload for this page. Returns a function that releases it, or null if another page, or
 * this one, has it. Where the page has no locks, two pages may have it; then the server lets the
 * newer one continue.
 */
async function takeUpload(key) {
  if (held.has(key)) return null;
  held.add(key);
  const { locks } = globalThis.navigator ?? {};
  const unlocked = () => held.delete(key);
  if (!locks) return unlocked;
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
    const denied = () => resolve(unlocked);
    locks.request(`galileo:${key}`, { ifAvailable: true }, granted).catch(denied);
  });
}

/**
 * The upload of this file that another page has begun, or that of the `key` that this one has begun,
 * taken for this one; null if there is none that can be taken.
 */
async function recallUpload(settings) {
  const { url, key, folder } = settings;
  const begun = (await begunUploads(url)).filter(({ isDiscarded }) => !isDiscarded);
  const records = begun.filter((each) => isOfFile(each, settings));
  const own = key === undefined ? [] : [records.find((each) => each.key === key) ?? { key }];
  const inFolder = records.filter((each) => each.folder === folder);
  for (const record of [...own, ...inFolder, ...records]) {
    const release = await takeUpload(record.key);
    if (release) return new BegunUpload(settings, record.key, { record, release });
  }
  return null;
}

/** An upload of this page that is remembered. */
class BegunUpload {
  key;
  folder; // as it is sent
  states = []; // of the hash
  #record;
  #release = null; // null until the upload is taken
  #taking = null;
  #noted = 0; // when, by the clock of `performance`
  #isOver = false; // whether this page does not send it any more
  #isForgotten = false;
  #url;

  constructor({ url, name, size, folder, modified, handle }, key, { record, release } = {}) {
    this.key = key;
    this.folder = record?.folder ?? folder;
    this.#url = url;
    this.states = record?.states ?? [];
    this.#release = release ?? null;
    const begun = record?.begun ?? Date.now();
    const place = placeOf(url);
    const keep = record?.keep ?? 0;
    this.#record = { key, place, name, size, folder: this.folder, modified, handle, begun, keep };
    this.#record.handle ??= record?.handle ?? null;
  }

  /** The server keeps the upload for `keep` seconds after each connection, and has `sent` bytes. */
  save(keep, sent, states) {
    this.#record.keep = keep;
    this.#taking ??= this.#release ? null : this.#take();
    this.#put(sent, states);
  }

  async #take() {
    this.#release = await takeUpload(this.key);
    if (this.#isOver) this.release();
  }

  /** Note that `sent` bytes are sent, now and then; `states()` is a promise of those of the hash. */
  async note(sent, states) {
    const now = performance.now();
    if (now - this.#noted < NOTE_EVERY) return;
    this.#noted = now;
    const saved = await states();
    if (!this.#isOver) this.#put(sent, saved);
  }

  #put(sent, states) {
    const record = this.#recordAt(sent, states);
    inStore("readwrite", (store) => store.put(record)).then((done) => {
      // A handle that cannot be stored is left out.
      if (done !== null || !record.handle || this.#isForgotten) return;
      this.#record.handle = null;
      inStore("readwrite", (store) => store.put({ ...record, handle: null }));
    });
  }

  #recordAt(sent, states) {
    const expires = Date.now() + (this.#record.keep ?? 0) * 1000;
    return { ...this.#record, sent, states, expires };
  }

  /** Another page may go on. */
  release() {
    this.#isOver = true;
    this.#release?.();
    this.#release = null;
  }

  /** The user has cancelled the upload, and the server keeps a part of it. */
  discard(token) {
    this.#isForgotten = true;
    discardBegun(this.#url, this.#recordAt(0, []), token, () => this.release());
  }

  /** The upload has ended. */
  forget() {
    this.#isForgotten = true;
    inStore("readwrite", (store) => store.delete(this.key));
    this.release();
  }
}

/**
 * The uploads to `url` that have begun, and not ended, and that no page is sending. `token` is for
 * those that the server could not be told to discard.
 */
async function unfinished({ url, token }) {
  const records = await begunUploads(url);
  const locks = await globalThis.navigator?.locks?.query().catch(() => null); // it may be denied
  const locked = locks?.held.map((lock) => lock.name) ?? [];
  const free = records.filter(({ key }) => !held.has(key) && !locked.includes(`galileo:${key}`));
  for (const record of free.filter(({ isDiscarded }) => isDiscarded)) {
    takeUpload(record.key).then((release) => release && discardBegun(url, record, token, release));
  }
  return free
    .filter(({ isDiscarded }) => !isDiscarded)
    .map((record) => {
      const { name, size, folder, modified, sent, begun, handle } = record;
      return {
        ...{ name, size, folder, modified, sent, begun, handle },
        matches(file, inFolder = folderOf(file)) {
          const chosen = { name: file.name, size: file.size, modified: file.lastModified };
          return isOfFile(record, { ...chosen, folder: inFolder });
        },
        async discard(options = {}) {
          const release = await takeUpload(record.key);
          if (!release) return false; // it goes on meanwhile
          await discardBegun(url, record, options.token, release);
          return true;
        },
      };
    });
}
