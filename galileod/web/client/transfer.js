// One upload: connects the sender, the reader and the WebSocket, and calls the handlers.

// Bytes per ms. The timeout is extended by the time to hash the file at this rate: after `finished`
// some servers read the whole file back to verify the hash, and send nothing meanwhile.
const VERIFY_RATE = 20_000;

class Transfer {
  done; // a promise of the receipt
  #settings;
  #on;
  #sender;
  #silence;
  #progress;
  #began = performance.now();
  #stopping = new AbortController(); // ends the reader
  #socket = null;
  #reader = null;
  #opened = false;
  #over = false;
  #buffered = 0; // as the last tick saw it
  #settle;

  /**
   * `settings` are those of readOptions. `on` has the handlers `error`, `failure`, `success`, and
   * optionally `chunk`, `progress` and `close`. None is called before `start` has returned.
   */
  constructor(settings, on) {
    const { file, name, token, chunksize, timeout } = settings;
    this.#settings = settings;
    this.#on = on;
    this.#sender = new Sender({ name, size: file.size, token }, chunksize);
    this.#silence = new Silence(timeout, this.#began);
    this.#progress = new Progress(file.size, this.#began);
    this.done = new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
    });
    this.done.catch(() => {}); // a page that only uses handlers gets no unhandled rejection
  }

  start() {
    const { url, signal } = this.#settings;
    if (signal?.aborted) {
      queueMicrotask(this.#onabort);
      return;
    }
    try {
      this.#connect(webSocketURL(url));
    } catch (error) {
      const reason = `Cannot connect to ${url}: ${error.message}`;
      queueMicrotask(() => this.#fail("connection_failed", reason, error));
      return;
    }
    signal?.addEventListener("abort", this.#onabort);
    this.#read();
  }

  abort = () => this.#cancel();

  #onabort = () => this.#cancel(this.#settings.signal.reason);

  #connect(url) {
    this.#socket = new Socket(url, {
      onopen: () => {
        this.#opened = true;
        this.#activity();
        this.#socket.send(this.#sender.start());
      },
      onmessage: (data) => this.#receive(data),
      onerror: () => {
        if (this.#opened) {
          this.#fail("connection_lost", "The connection to the server was lost.");
        } else {
          // Browsers do not tell a page which of the two it is.
          const reason = "cannot be reached, or does not accept uploads from this page";
          this.#fail("connection_failed", `The server at ${this.#socket.url} ${reason}.`);
        }
      },
      onclose: ({ code, reason }) => {
        const why = reason ? `${code}, ${reason}` : code;
        const error = `The connection was closed before the server confirmed the file (${why}).`;
        this.#fail("connection_lost", error);
      },
      ontick: () => this.#tick(),
    });
  }

  #read() {
    openReader(this.#settings, this.#stopping.signal).then(
      (reader) => {
        this.#activity();
        this.#reader = reader;
        this.#pump();
      },
      (error) => {
        const reason = `This page cannot compute ${this.#settings.hashType}: ${error.message}`;
        this.#fail("hash_unavailable", reason, error);
      },
    );
  }

  #activity() {
    this.#silence.activity(performance.now());
  }

  #receive(data) {
    this.#activity();
    const event = this.#sender.receive(data);
    switch (event.type) {
      case "ready":
        this.#pump();
        break;
      case "error":
        this.#on.error(event.signal);
        break;
      case "fatal":
        this.#on.error(event.signal);
        if (!this.#over) this.#finish(new UploadError(this.#sender.errors));
        break;
      case "stored":
        this.#succeed(event.name);
        break;
      case "violation":
        this.#fail(event.code, event.error);
    }
  }

  /** Send all that is due. Called after each change of what may be due. */
  #pump() {
    if (this.#over || !this.#reader || !this.#socket.isOpen) return;
    this.#readAhead();
    for (let due = this.#sender.due(); due !== null; due = this.#sender.due()) {
      if (due === "chunk" && this.#socket.isFull) {
        this.#socket.retryLater(() => this.#pump());
        return;
      }
      // The first `finished`: from now on the server may be reading the file back.
      if (this.#sender.state === "finishing") {
        this.#silence.extend(this.#settings.file.size / VERIFY_RATE);
      }
      this.#socket.send(this.#sender.take());
      this.#activity();
      if (due === "chunk") {
        this.#readAhead(); // the next slice is read while the page's handler runs
        this.#on.chunk?.(this.#sender.ratio);
      }
    }
  }

  #readAhead() {
    for (let slice = this.#sender.nextSlice(); slice; slice = this.#sender.nextSlice()) {
      this.#readSlice(slice);
      if (slice.last) this.#readHash();
    }
  }

  #readSlice(slice) {
    const { name } = this.#settings;
    this.#reader.read(slice.start, slice.end).then((data) => {
      this.#activity();
      if (this.#sender.sliceRead(slice, data)) this.#pump();
      else this.#fail("file_changed", `The size of "${name}" changed while it was being read.`);
    }, this.#unreadable);
  }

  #readHash() {
    this.#reader.digest().then((value) => {
      this.#activity();
      this.#sender.hashKnown(value === null ? null : { type: this.#settings.hashType, value });
      this.#pump();
    }, this.#unreadable);
  }

  #unreadable = (error) => {
    const lead = `"${this.#settings.name}" cannot be read.`;
    const guess = "It may have been changed, moved or deleted since it was chosen";
    this.#fail("file_unreadable", `${lead} ${guess} (${error?.name || "Error"}).`, error);
  };

  #tick() {
    const { buffered } = this.#socket;
    if (buffered < this.#buffered) this.#activity();
    this.#buffered = buffered;
    if (this.#opened) this.#reportProgress();
    if (this.#over || !this.#silence.exceeded(performance.now())) return;
    const seconds = Math.round(this.#silence.limit / 100) / 10;
    this.#fail("timeout", `${this.#awaited()} for ${seconds} s.${this.#mayBeStored("It")}`);
  }

  #reportProgress() {
    const sent = this.#sender.sent - this.#socket.buffered;
    this.#on.progress?.(this.#progress.sample(sent, performance.now(), this.#over));
  }

  /** What did not happen, as the beginning of a sentence. */
  #awaited() {
    if (!this.#opened) return `The server at ${this.#socket.url} has not answered`;
    if (this.#buffered > 0) return "No data could be sent";
    if (this.#sender.hasPending) return `No data could be read from "${this.#settings.name}"`;
    return "The server has been silent";
  }

  /** A sentence for failures after `finished`, after a space; else an empty string. */
  #mayBeStored(subject) {
    if (this.#sender.state !== "awaitingClose") return "";
    return ` ${subject} may have stored the file nevertheless.`;
  }

  #succeed(storedName) {
    const { name, file } = this.#settings;
    this.#finish(null, {
      name: storedName ?? name,
      size: file.size,
      hash: this.#sender.hash,
      seconds: (performance.now() - this.#began) / 1000,
    });
  }

  #fail(code, error, cause) {
    if (this.#over) return;
    const signals = [...this.#sender.errors, { error, fatal: true, code }];
    this.#finish(new UploadError(signals, cause === undefined ? undefined : { cause }));
  }

  #cancel(cause) {
    this.#fail("aborted", `The upload was cancelled.${this.#mayBeStored("The server")}`, cause);
  }

  #finish(error, receipt) {
    this.#over = true;
    this.#settings.signal?.removeEventListener("abort", this.#onabort);
    this.#sender.end(); // if the loop in #pump led to this call, it ends too
    this.#stopping.abort();
    this.#socket?.close();
    if (error) {
      this.#settle.reject(error);
      this.#on.failure(error);
    } else {
      this.#reportProgress();
      this.#settle.resolve(receipt);
      this.#on.success(receipt);
    }
    if (!this.#on.close) return;
    if (this.#socket) this.#socket.whenClosed(() => this.#on.close());
    else this.#on.close();
  }
}
