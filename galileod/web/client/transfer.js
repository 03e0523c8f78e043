// One file on its way: its reader, its Sender while it is on a connection, and its handlers.

class Transfer {
  done; // a promise of the receipt
  sender = null; // from `begin` on
  isOver = false;
  mayBeStored = false; // whether the server may have stored the file although this has failed
  #settings;
  #on;
  #progress;
  #began = performance.now();
  #stopping = new AbortController(); // ends the reader
  #reader = null;
  #host = null; // the Connection
  #settle;

  /**
   * `settings` are those of readOptions. `on` has the handlers `error`, `failure`, `success`, and
   * optionally `chunk` and `progress`. The AbortSignal of the settings cancels the transfer.
   */
  constructor(settings, on) {
    this.#settings = settings;
    this.#on = on;
    this.#progress = new Progress(settings.size, this.#began);
    this.done = new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
    });
    this.done.catch(() => {}); // a page that only uses handlers gets no unhandled rejection
    settings.signal?.addEventListener("abort", this.abortBySignal);
  }

  get size() {
    return this.#settings.size;
  }

  get name() {
    return this.#settings.name;
  }

  /** Whether the reader is there; of a file that is loaded, all bytes. */
  get isOpen() {
    return this.#reader !== null;
  }

  /** Bytes that are not sent yet. */
  get left() {
    return this.size - (this.sender?.sent ?? 0);
  }

  abort = () => this.#cancel();

  abortBySignal = () => this.#cancel(this.#settings.signal.reason);

  #cancel(cause) {
    const error = `The upload was cancelled.${this.mayBeStoredText("The server")}`;
    this.fail("aborted", error, cause);
  }

  /**
   * Open the file for `host`, which has `activity()`, `pump()` for when something may be due, and
   * `drop(transfer)` for when the transfer ends by itself. `load`: read and hash it whole.
   */
  open(host, load) {
    this.#host = host;
    const { signal } = this.#stopping;
    const opening = load ? loadFile(this.#settings, signal) : openReader(this.#settings, signal);
    opening.then(
      (reader) => {
        if (this.isOver) return;
        this.#reader = reader;
        host.activity();
        host.pump();
      },
      (error) => {
        if (error instanceof HashError) this.#hashUnavailable(error.cause);
        else if (error instanceof LengthError) this.#changed();
        else this.#unreadable(error);
      },
    );
  }

  /** The metadata. `can` are the extensions to offer; `options` are those of Sender. */
  begin(can, options) {
    const { file, name, token, chunksize } = this.#settings;
    const secret = typeof token === "function" ? token(file) : token;
    const metadata = { name, size: this.size, token: secret ?? undefined, can };
    this.sender = new Sender(metadata, chunksize, options);
    return this.sender.start();
  }

  /** Read what the Sender permits. */
  readAhead() {
    if (!this.#reader) return;
    const { sender } = this;
    for (let slice = sender.nextSlice(); slice; slice = sender.nextSlice()) {
      this.#readSlice(slice);
      if (slice.last) this.#readHash();
    }
  }

  #readSlice(slice) {
    const store = (data) => {
      if (this.sender.sliceRead(slice, data)) return true;
      this.#changed();
      return false;
    };
    const reading = this.#reader.read(slice.start, slice.end);
    if (!(reading instanceof Promise)) {
      store(reading); // it was loaded; the caller sends it
      return;
    }
    reading.then((data) => {
      if (this.isOver) return;
      this.#host.activity();
      if (store(data)) this.#host.pump();
    }, this.#unreadable);
  }

  #readHash() {
    const known = (value) => {
      this.sender.hashKnown(value === null ? null : { type: this.#settings.hashType, value });
    };
    const reading = this.#reader.digest();
    if (!(reading instanceof Promise)) {
      known(reading);
      return;
    }
    reading.then((value) => {
      if (this.isOver) return;
      this.#host.activity();
      known(value);
      this.#host.pump();
    }, this.#unreadable);
  }

  /** The buffer of a chunk that was sent may be used again. */
  recycle(data) {
    this.#reader?.recycle?.(data);
  }

  chunkSent() {
    this.#on.chunk?.(this.sender.ratio);
  }

  /** `sent` bytes have left the browser. */
  sample(sent) {
    this.#on.progress?.(this.#progress.sample(sent, performance.now(), this.isOver));
  }

  /** An error of the server that is not fatal. */
  warn(signal) {
    this.#on.error(signal);
  }

  /** The server has answered with a fatal error. */
  refuse(signal) {
    const error = new UploadError(this.sender.errors);
    this.#on.error(signal);
    this.#finish(error);
  }

  succeed(storedName) {
    const receipt = {
      name: storedName ?? this.name,
      size: this.size,
      hash: this.sender.hash,
      seconds: (performance.now() - this.#began) / 1000,
    };
    this.#finish(null, receipt);
  }

  fail(code, error, cause) {
    if (this.isOver) return;
    const signals = [...(this.sender?.errors ?? []), { error, fatal: true, code }];
    this.mayBeStored = this.sender?.state === "awaitingClose";
    this.#finish(new UploadError(signals, cause === undefined ? undefined : { cause }));
  }

  /** End without calling a handler: the file is sent again by another Transfer. */
  release() {
    this.isOver = true;
    this.#settings.signal?.removeEventListener("abort", this.abortBySignal);
    this.sender?.end();
    this.#stopping.abort();
    this.#reader = null;
  }

  /** A sentence for failures after `finished`, after a space; else an empty string. */
  mayBeStoredText(subject) {
    if (this.sender?.state !== "awaitingClose") return "";
    return ` ${subject} may have stored the file nevertheless.`;
  }

  #unreadable = (error) => {
    const lead = `"${this.name}" cannot be read.`;
    const guess = "It may have been changed, moved or deleted since it was chosen";
    this.fail("file_unreadable", `${lead} ${guess} (${error?.name || "Error"}).`, error);
  };

  #changed() {
    this.fail("file_changed", `The size of "${this.name}" changed while it was being read.`);
  }

  #hashUnavailable(error) {
    const reason = `This page cannot compute ${this.#settings.hashType}: ${error.message}`;
    this.fail("hash_unavailable", reason, error);
  }

  #finish(error, receipt) {
    if (this.isOver) return; // ended by the page's handler for the error
    this.release();
    if (error) {
      this.#settle.reject(error);
      this.#on.failure(error);
    } else {
      this.sample(this.size);
      this.#settle.resolve(receipt);
      this.#on.success(receipt);
    }
    this.#host?.drop(this);
  }
}
