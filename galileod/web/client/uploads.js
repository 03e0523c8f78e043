// Many files: which wait, which are on a connection, and what became of each.

const CONNECTIONS = 3; // at once, unless the page wants another number
const MAX_CONNECTIONS = 16;

class Uploads {
  files = []; // each FileUpload that was added and not cleared, in that order
  #options;
  #pool;
  #waiting = new Waiting();
  #questions;
  #settings = new Map(); // FileUpload → its settings
  #transfers = new Map(); // FileUpload → Transfer: those that have begun, or may have
  #uploads = new Map(); // the same the other way round
  #connections = new Map(); // Transfer → Connection, by `take`
  #isHeld = false;
  #open = 0; // files that have not ended
  #ended = []; // in the order in which they ended, for the iterator; null for each that was cleared
  #places = new Places();
  #tally = new Tally();
  #idle = null; // {promise, resolve}: of `done`
  #changed = null; // {promise, resolve}: of the iterator

  constructor(options) {
    this.#options = options;
    const { connections = CONNECTIONS, signal, retries, onretry } = options;
    if (!Number.isInteger(connections) || connections < 1 || connections > MAX_CONNECTIONS) {
      throw new TypeError(`connections must be an integer from 1 to ${MAX_CONNECTIONS}.`);
    }
    const asks = readSkipExisting(options);
    this.#questions = new Questions(asks, this.#waiting, {
      settings: (upload) => this.#settings.get(upload),
      isSent: (upload, by) => this.#connections.get(this.#transfers.get(upload)) === by,
      held: (upload, path) => this.#transferOf(upload).skip(path),
    });
    const can = asks ? ["resume", "next", "ask"] : ["resume", "next"];
    const settings = { limit: connections, retries, can, restarts: true, onretry };
    this.#pool = new Pool(settings, this.#queue);
    this.add(options.files ?? []);
    if (signal?.aborted) queueMicrotask(() => this.abort());
    else signal?.addEventListener("abort", () => this.abort(), { once: true });
  }

  /**
   * Add files: each a File, or an object with `file` and options of its own. Returns their
   * FileUploads. Throws TypeError, and adds none, if one is not valid.
   */
  add(files) {
    const settings = Array.from(files, (each) => {
      const given = typeof each?.slice === "function" ? { file: each } : each;
      return readOptions({ ...this.#options, ...given, signal: undefined });
    });
    const added = settings.map((each) => {
      const upload = new FileUpload(this, each);
      this.#settings.set(upload, each);
      if (each.modified === undefined) this.#questions.settle(upload); // there is nothing to compare
      return upload;
    });
    for (const upload of added) {
      this.files.push(upload);
      this.#enter(upload, false);
    }
    this.#pool.fill();
    return added;
  }

  /** Send again those of `uploads` that have failed or were cancelled, before those that wait. */
  retry(uploads) {
    for (const upload of uploads) {
      if (!this.#settings.has(upload)) continue; // it was cleared
      const { state } = upload;
      if (state === "failed" || state === "cancelled") this.#enter(upload, true);
    }
    this.#pool.fill();
  }

  /** Cancel those of `uploads` that have not ended; all of them by default. */
  abort(uploads = this.files) {
    // Waiting ones first: when a running one ends, the next waiting one is taken. Handlers may add
    // files meanwhile.
    const chosen = [...uploads];
    const running = chosen.filter((upload) => this.#transfers.has(upload));
    const error = "The upload was cancelled.";
    for (const upload of chosen) {
      if (ENDS.has(upload.state) || this.#transfers.has(upload)) continue;
      this.#waiting.delete(upload);
      const signals = [{ error, fatal: true, code: "aborted" }];
      this.#end(upload, { state: "cancelled", error: new UploadError(signals) });
    }
    for (const upload of running) this.#transfers.get(upload)?.abort();
    this.#pool.fill(); // nothing may be left to wait for
  }

  /** Stop sending `uploads`, all by default; not those that are sent to their last byte. */
  pause(uploads = this.files) {
    const left = new Set(uploads); // each is paused once, whatever the handlers do
    let before;
    do {
      before = left.size;
      for (const upload of left) if (isWaiting(upload)) this.#pauseOne(upload, left);
      // When a connection is left, what it has taken in advance waits again, or is taken by another.
      for (const upload of left) {
        const transfer = this.#transfers.get(upload);
        if (upload.state !== "sending" || !this.#connections.get(transfer)?.leave(transfer)) continue;
        this.#pauseOne(upload, left);
      }
    } while (left.size < before);
    this.#tally.reset();
    this.#pool.fill();
  }

  /** Pause a file that waits, or whose connection is to leave it. */
  #pauseOne(upload, left) {
    left.delete(upload);
    this.#waiting.delete(upload);
    const transfer = this.#transfers.get(upload);
    if (!this.#connections.has(transfer)) transfer?.rest();
    this.#change(upload, { state: "paused", rate: 0 });
  }

  /** Go on with those of `uploads` that are paused. */
  resume(uploads = this.files) {
    for (const upload of [...uploads]) {
      if (upload.state !== "paused") continue;
      const transfer = this.#transfers.get(upload);
      if (this.#connections.get(transfer)?.stay(transfer)) {
        this.#change(upload, { state: "sending" });
      } else this.#wait(upload, true);
    }
    this.#tally.reset();
    this.#pool.fill();
  }

  /** Begin no further file until `release`. */
  hold() {
    this.#isHeld = true;
    this.#pool.hold();
  }

  release() {
    this.#isHeld = false;
    this.#pool.fill();
  }

  /** Forget those of `uploads` that have ended; all of them by default. */
  clear(uploads = this.files) {
    const cleared = new Set([...uploads].filter(({ state }) => ENDS.has(state)));
    this.files = this.files.filter((upload) => !cleared.has(upload));
    this.#ended = this.#ended.map((upload) => (cleared.has(upload) ? null : upload));
    for (const upload of cleared) {
      if (!this.#settings.delete(upload)) continue;
      if (upload.state === "stored") this.#tally.remove(upload);
      this.#places.remove(upload);
    }
  }

  /** Whether any file has not ended. */
  get active() {
    return this.#open > 0;
  }

  /** The failure after which no connection could be made yet: {attempt, at, error}, or null. */
  get outage() {
    return this.#pool.outage;
  }

  /** Of all files that have not failed or been cancelled. */
  get progress() {
    return this.#tally.progress(this.outage === null && !this.#isHeld);
  }

  /** A promise of the result of each file, once all have ended: a Receipt or an UploadError. */
  get done() {
    if (this.active) {
      this.#idle ??= signalled();
      return this.#idle.promise;
    }
    return Promise.resolve(this.#results());
  }

  #results() {
    return this.files.map(({ receipt, error }) => receipt ?? error);
  }

  /** The files, each once it has ended, until all have. */
  async *[Symbol.asyncIterator]() {
    for (let next = 0; ; ) {
      if (next < this.#ended.length) {
        const upload = this.#ended[next++];
        if (upload) yield upload;
      } else if (!this.active) return;
      else {
        this.#changed ??= signalled();
        await this.#changed.promise;
      }
    }
  }

  /** A file is new, or is tried again. */
  #enter(upload, isSoon) {
    const { size } = upload;
    const { maxSize = Infinity } = this.#options;
    if (!this.active) this.#tally.reset();
    this.#open += 1;
    Object.assign(upload, { sent: 0, rate: 0, mayBeStored: false, error: null, receipt: null });
    this.#tally.add(upload);
    if (size > maxSize) {
      const error = `The file is too large: ${size} bytes. At most ${maxSize} bytes are taken.`;
      const signals = [{ error, fatal: true, code: "too_large", limit: maxSize, size }];
      this.#end(upload, { state: "failed", error: new UploadError(signals) });
    } else this.#wait(upload, isSoon);
  }

  #wait(upload, isSoon) {
    this.#questions.wait(upload, isSoon);
    this.#change(upload, { state: "waiting", rate: 0 });
  }

  /** The next file for a connection; null: for a new one. */
  #next(connection) {
    if (this.#isHeld) return undefined;
    return connection?.asks ? this.#waiting.ready : this.#waiting.next;
  }

  /** What the Pool sees of this. */
  #queue = {
    peek: (connection = null) => {
      const next = this.#next(connection);
      return next ? this.#settings.get(next) : null;
    },
    take: (connection) => {
      const upload = this.#next(connection);
      this.#waiting.delete(upload);
      const transfer = this.#transferOf(upload);
      this.#connections.set(transfer, connection);
      this.#questions.taken(upload, connection);
      this.#changeInside(upload, { state: "sending" });
      return transfer;
    },
    putBack: (transfer) => {
      transfer.interrupt();
      this.#putFirst(transfer, "waiting");
    },
    interrupted: (transfer) => this.#putFirst(transfer, "interrupted"),
    left: (transfer) => {
      this.#connections.delete(transfer);
      if (this.#uploads.get(transfer).state === "paused") transfer.rest();
    },
    giveUp: (failure) => {
      for (const upload of this.#waiting.list()) {
        if (!isWaiting(upload)) continue; // a handler has taken it out
        this.#waiting.delete(upload);
        this.#transferOf(upload).failWith(failure);
      }
    },
    ask: (connection, transfer) => this.#questions.ask(connection, this.#uploads.get(transfer)),
    isAsking: () => this.#questions.areOpen,
    answered: (connection, held) => this.#questions.answered(connection, held),
    unanswered: (connection, isRefused) => this.#questions.unanswered(connection, isRefused),
  };

  /** A file has left its connection, and is the next one, unless it is paused. */
  #putFirst(transfer, state) {
    const upload = this.#uploads.get(transfer);
    this.#connections.delete(transfer);
    if (upload.state === "paused") {
      transfer.rest();
      return;
    }
    this.#waiting.addNext(upload, this.#questions.concerns(upload));
    const sent = transfer.isResumable ? upload.sent : 0; // else it begins anew
    this.#tally.sent(upload, sent);
    this.#changeInside(upload, { state: sent > 0 ? state : "waiting", sent, rate: 0 });
  }

  /** The Transfer of a file; it is made if it has none. */
  #transferOf(upload) {
    return this.#transfers.get(upload) ?? this.#begin(upload);
  }

  #begin(upload) {
    const settings = this.#settings.get(upload);
    const transfer = new Transfer(settings, {
      error: (signal) => callHandler(this.#options.onerror, signal, upload),
      progress: ({ sent, rate }) => {
        this.#tally.sent(upload, sent);
        const state = sent === upload.size ? "checking" : "sending";
        const isPaused = upload.state === "paused";
        this.#change(upload, isPaused ? { sent } : { state, sent, rate });
      },
      resumed: (sent) => {
        this.#tally.resumed(upload, sent);
        Object.assign(upload, { sent, folder: transfer.folder });
      },
      success: (receipt) => {
        this.#forget(upload);
        if (receipt.outcome === "stored") this.#stored(upload, receipt);
        else this.#skipped(upload, receipt);
        this.#end(upload, { state: receipt.outcome, receipt });
      },
      failure: (error) => {
        const { mayBeStored } = transfer;
        const isKnown = transfer.isKept || (mayBeStored && transfer.isResumable); // to the server
        // For `retry`: the key holds for the folder.
        settings.key = isKnown ? transfer.key : undefined;
        if (isKnown) settings.folder = transfer.folder;
        this.#forget(upload);
        const state = error.code === "aborted" ? "cancelled" : "failed";
        if (state === "failed") this.#tally.answered(false);
        this.#end(upload, { state, error, mayBeStored });
        if (error.code === "unauthorized") this.#failWith(settings, error);
      },
    });
    this.#transfers.set(upload, transfer);
    this.#uploads.set(transfer, upload);
    return transfer;
  }

  /** The server has refused `token`: what waits with the same one fails too, without being tried. */
  #failWith({ token, tokens }, error) {
    if (typeof token === "function" && !tokens.isShared) return; // it is asked for each file
    for (const upload of this.#waiting.list()) {
      if (!isWaiting(upload) || this.#settings.get(upload).token !== token) continue;
      this.#waiting.delete(upload);
      const transfer = this.#transfers.get(upload); // of an interrupted file
      if (transfer) transfer.fail(error.code, error.reason, error, transfer.isResumable);
      else this.#end(upload, { state: "failed", error });
    }
  }

  /** The server has stored a file, maybe in the place of an earlier one of these. */
  #stored(upload, { path }) {
    this.#tally.answered(true);
    for (const replaced of this.#places.store(upload, path)) {
      if (replaced.state === "stored") this.#tally.remove(replaced);
      const receipt = { ...replaced.receipt, outcome: "replaced" };
      this.#change(replaced, { state: "replaced", receipt });
    }
  }

  /** The server has the file already. */
  #skipped(upload, { path }) {
    this.#tally.remove(upload);
    this.#places.add(upload, path);
  }

  #forget(upload) {
    const transfer = this.#transfers.get(upload);
    this.#uploads.delete(transfer);
    this.#connections.delete(transfer);
    this.#transfers.delete(upload);
    this.#waiting.delete(upload);
  }

  #end(upload, how) {
    this.#open -= 1;
    if (how.error) this.#tally.remove(upload);
    this.#ended.push(upload);
    this.#change(upload, { rate: 0, ...how });
    this.#changed?.resolve();
    this.#changed = null;
    if (this.active) return;
    this.#idle?.resolve(this.#results());
    this.#idle = null;
  }

  #change(upload, what) {
    Object.assign(upload, what);
    callHandler(this.#options.onfile, upload);
  }

  /** The same in the middle of something that the handler must not disturb: it is called later. */
  #changeInside(upload, what) {
    Object.assign(upload, what);
    const { state } = upload;
    queueMicrotask(() => upload.state === state && callHandler(this.#options.onfile, upload));
  }
}

/** Whether the option says that files are left out which the server has already. */
function readSkipExisting({ skipExisting = false }) {
  if (![false, true, "modified"].includes(skipExisting)) {
    throw new TypeError('skipExisting must be true, "modified" or false.');
  }
  return skipExisting !== false;
}

function signalled() {
  const made = {};
  made.promise = new Promise((resolve) => {
    made.resolve = resolve;
  });
  return made;
}
