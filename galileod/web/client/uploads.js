// Many files: which wait, which are on a connection, and what became of each.

const CONNECTIONS = 3; // at once, unless the page wants another number
const MAX_CONNECTIONS = 16;

/** One file of `uploadAll`. All fields are for the page to read; galileo.d.ts describes them. */
class FileUpload {
  state = "waiting";
  sent = 0;
  rate = 0;
  receipt = null;
  error = null;
  mayBeStored = false;
  #uploads;

  constructor(uploads, { file, name, size }) {
    this.#uploads = uploads;
    this.file = file;
    this.name = name;
    this.size = size;
  }

  abort() {
    this.#uploads.abort([this]);
  }
}

const hasEnded = ({ state }) => state === "stored" || state === "failed" || state === "cancelled";

class Uploads {
  files = []; // each FileUpload that was added, in that order
  #options;
  #limit; // connections at once
  #waiting = new Set(); // in the order in which they are sent
  #settings = new Map(); // FileUpload → its settings
  #transfers = new Map(); // FileUpload → Transfer: those that a connection has taken
  #uploads = new Map(); // the same the other way round
  #connections = new Set();
  #isPaused = false;
  #ended = []; // in the order in which they ended, for the iterator
  #sum = { sent: 0, size: 0, files: 0, filesEnded: 0 }; // stored, and of those not failed
  #gone = { bytes: 0, files: 0 }; // has left the browser, and was answered, failed files included
  #total = new Total(performance.now()); // begun anew when files are added after the end of others
  #idle = null; // {promise, resolve}: of `done`
  #changed = null; // {promise, resolve}: of the iterator

  constructor(options) {
    this.#options = options;
    const { connections = CONNECTIONS, signal } = options;
    if (!Number.isInteger(connections) || connections < 1 || connections > MAX_CONNECTIONS) {
      throw new TypeError(`connections must be an integer from 1 to ${MAX_CONNECTIONS}.`);
    }
    this.#limit = connections;
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
      return upload;
    });
    for (const upload of added) {
      this.files.push(upload);
      this.#enter(upload);
    }
    this.#fill();
    return added;
  }

  /** Send again those of `uploads` that have failed or were cancelled, before those that wait. */
  retry(uploads) {
    const others = [...this.#waiting];
    this.#waiting.clear();
    for (const upload of uploads) {
      if (upload.state === "failed" || upload.state === "cancelled") this.#enter(upload);
    }
    for (const upload of others) this.#waiting.add(upload);
    this.#fill();
  }

  /** Cancel those of `uploads` that have not ended; all of them by default. */
  abort(uploads = this.files) {
    // Waiting ones first: when a running one ends, the next waiting one is taken. Handlers may add
    // files meanwhile.
    const error = "The upload was cancelled.";
    const chosen = [...uploads];
    for (const upload of chosen) {
      if (!this.#waiting.delete(upload)) continue;
      const signals = [{ error, fatal: true, code: "aborted" }];
      this.#end(upload, { state: "cancelled", error: new UploadError(signals) });
    }
    for (const upload of chosen) this.#transfers.get(upload)?.abort();
  }

  /** Remove those of `uploads` that have ended from `files` and from the total. */
  clear(uploads = this.files) {
    const cleared = new Set([...uploads].filter(hasEnded));
    this.files = this.files.filter((each) => !cleared.has(each));
    for (const upload of cleared) {
      this.#settings.delete(upload);
      if (upload.state !== "stored") continue;
      this.#sum.sent -= upload.size;
      this.#sum.size -= upload.size;
      this.#sum.files -= 1;
      this.#sum.filesEnded -= 1;
    }
  }

  /** Begin no further file until `resume`. */
  pause() {
    this.#isPaused = true;
    for (const connection of this.#connections) connection.pause();
  }

  resume() {
    this.#isPaused = false;
    this.#fill();
  }

  /** Whether any file has not ended. */
  get active() {
    return this.#waiting.size + this.#transfers.size > 0;
  }

  /** Of all files that have not failed or been cancelled. */
  get progress() {
    const { size, files, filesEnded } = this.#sum;
    let { sent } = this.#sum;
    for (const upload of this.#transfers.keys()) sent += upload.sent;
    this.#measure();
    const all = workOf(size, files);
    return {
      sent,
      size,
      ratio: all > 0 ? workOf(sent, filesEnded) / all : 1,
      rate: this.#total.rate,
      files,
      filesEnded,
      secondsLeft: this.#total.secondsLeft(size - sent, files - filesEnded),
    };
  }

  #measure() {
    this.#total.sample(performance.now(), this.#gone.bytes, this.#gone.files);
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
      if (next < this.#ended.length) yield this.#ended[next++];
      else if (!this.active) return;
      else {
        this.#changed ??= signalled();
        await this.#changed.promise;
      }
    }
  }

  #enter(upload) {
    const { size } = upload;
    const { maxSize = Infinity } = this.#options;
    const fresh = { sent: 0, rate: 0, mayBeStored: false, error: null, receipt: null };
    this.#sum.size += size;
    this.#sum.files += 1;
    if (size > maxSize) {
      const error = `The file is too large: ${size} bytes. At most ${maxSize} bytes are taken.`;
      const signals = [{ error, fatal: true, code: "too_large", limit: maxSize, size }];
      this.#end(upload, { ...fresh, state: "failed", error: new UploadError(signals) });
      return;
    }
    if (!this.active) this.#total.reset(performance.now());
    this.#waiting.add(upload);
    this.#change(upload, { ...fresh, state: "waiting" });
  }

  /** Make connections while there are files for them. */
  #fill() {
    while (!this.#isPaused && this.#waiting.size > 0 && this.#connections.size < this.#limit) {
      const { url, timeout } = this.#settings.get(this.#next);
      const connection = new Connection({ url, timeout, many: true }, this.#queue);
      this.#connections.add(connection);
      connection.start();
    }
  }

  get #next() {
    return this.#waiting.values().next().value;
  }

  /** What a Connection sees of this. */
  #queue = {
    peek: () => (this.#isPaused || this.#waiting.size === 0 ? null : this.#next.size),
    take: () => {
      const upload = this.#next;
      this.#waiting.delete(upload);
      const transfer = this.#transferOf(upload);
      this.#transfers.set(upload, transfer);
      this.#uploads.set(transfer, upload);
      this.#change(upload, { state: "sending" });
      return transfer;
    },
    putBack: (transfer) => {
      const upload = this.#uploads.get(transfer);
      this.#forget(upload);
      this.#waiting = new Set([upload, ...this.#waiting]);
      this.#change(upload, { state: "waiting", sent: 0, rate: 0 });
    },
    ended: (connection) => {
      this.#connections.delete(connection);
      // Later: the file whose answer has ended the connection is still to be told.
      queueMicrotask(() => this.#fill());
    },
  };

  #transferOf(upload) {
    const settings = this.#settings.get(upload);
    return new Transfer(settings, {
      error: (signal) => callHandler(this.#options.onerror, signal, upload),
      progress: ({ sent, rate }) => {
        this.#gone.bytes += sent - upload.sent;
        this.#measure();
        const state = sent === upload.size ? "checking" : "sending";
        this.#change(upload, { state, sent, rate });
      },
      success: (receipt) => {
        this.#forget(upload);
        this.#gone.files += 1;
        this.#sum.sent += upload.size;
        this.#sum.filesEnded += 1;
        this.#end(upload, { state: "stored", receipt });
      },
      failure: (error) => {
        const { mayBeStored } = this.#transfers.get(upload);
        this.#forget(upload);
        const state = error.code === "aborted" ? "cancelled" : "failed";
        if (state === "failed") this.#gone.files += 1;
        this.#end(upload, { state, error, mayBeStored });
        if (error.code === "unauthorized") this.#failWith(settings.token, error);
      },
    });
  }

  /** The server has refused `token`: what waits with the same one fails too, without being tried. */
  #failWith(token, error) {
    if (typeof token === "function") return; // it is asked again for each file
    for (const upload of [...this.#waiting]) {
      if (this.#settings.get(upload).token !== token || !this.#waiting.delete(upload)) continue;
      this.#end(upload, { state: "failed", error });
    }
  }

  #forget(upload) {
    this.#uploads.delete(this.#transfers.get(upload));
    this.#transfers.delete(upload);
  }

  #end(upload, how) {
    if (how.error) {
      this.#sum.size -= upload.size;
      this.#sum.files -= 1;
    }
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
}

function signalled() {
  const made = {};
  made.promise = new Promise((resolve) => {
    made.resolve = resolve;
  });
  return made;
}
