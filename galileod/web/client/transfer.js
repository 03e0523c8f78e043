// One file on its way, over all connections that it takes: its reader, its Sender while it is on a
// connection, and its handlers.

const MAX_MEETINGS = 3; // with servers that cannot resume, before the file begins anew at one
const MAX_RENEWALS = 3; // keys of one file of which the server may have other bytes than the file

class Transfer {
  done; // a promise of the receipt
  isOver = false;
  isResumable = false; // whether the server has agreed to that
  losses = 0; // connections in a row that were lost, and brought nothing
  mayBeStored = false; // whether the server may have stored the file although this has failed
  #settings;
  #on;
  #progress;
  #began = performance.now();
  key;
  folder; // as it is sent: that of what an earlier page has begun
  isKept = false; // whether the server keeps a part of it although this has failed
  #recalling = null; // a promise, from `open` on
  #memory; // of the upload, over reloads
  #offset = 0; // bytes that the server had, as it last said
  #most = -1; // bytes of the longest part that was reported as sent
  #renewals = 0;
  #silent = 0; // connections that were given up since they were silent
  #authorization;
  #meetings = 0; // with servers that cannot resume what another one has begun
  #hash = null; // that was sent on a connection that was lost
  #mayBeFinished = false; // whether `finished` was sent on a connection that was lost
  #source;
  #attempt = null; // the one that runs
  #host = null; // the Connection
  #settle;

  /**
   * `settings` are those of readOptions. `on` has the handlers `error`, `failure`, `success`, and
   * optionally `chunk`, `progress`, and `resumed(offset)` for where the upload continues. The
   * AbortSignal of the settings cancels the transfer.
   */
  constructor(settings, on) {
    this.#settings = settings;
    this.#on = on;
    this.key = settings.key ?? newKey();
    this.isResumable = settings.key !== undefined;
    if (this.isResumable) wanted.add(this.key);
    this.#progress = new Progress(settings.size, this.#began);
    this.folder = settings.folder;
    this.#memory = new Remembering(settings);
    this.#authorization = new Authorization(settings, {
      given: () => this.#tell(),
      denied: (error, refusal) => this.#denied(error, refusal),
    });
    this.#source = new Source(settings, {
      opened: () => this.#tell(),
      failed: (error) => this.#notRead(error),
    });
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

  /** The Sender of the attempt that runs, or null. */
  get sender() {
    return this.#attempt?.sender ?? null;
  }

  /** Whether the file is being read up to where the upload continues. */
  get isSeeking() {
    return this.#attempt?.isSeeking ?? false;
  }

  /** Whether all bytes of a file that is loaded are there; of another one, whether it can be read. */
  get isOpen() {
    return this.#source.isOpen;
  }

  /** Bytes that are not sent yet. */
  get left() {
    return this.size - (this.sender?.sent ?? 0);
  }

  /** Whether the file may be sent on another connection after this one was lost. */
  get mayGoOn() {
    if (this.isResumable) return true; // by the key the server knows what became of it
    return this.#settings.restarts && !this.sender?.isFinished;
  }

  abort = () => this.#cancel();

  abortBySignal = () => this.#cancel(this.#settings.signal.reason);

  #cancel(cause) {
    const isKept = this.isResumable && !this.isOver && !this.#host?.tells(this);
    const error = `The upload was cancelled.${this.mayBeStoredText("The server")}`;
    const begun = isKept ? this.#memory.handOver() : null;
    this.fail("aborted", error, cause);
    if (!isKept) return;
    const token = this.#authorization.newest;
    if (begun) begun.discard(token);
    else abandonUpload(this.#settings.url, { ...this.#metadata(), token });
  }

  /**
   * Open the file for `host`, which has a `watch`, `pump()` for when something may be due,
   * `restart(transfer)` for when the server has other bytes, `drop(transfer)` for when the transfer
   * ends by itself, and `tells(transfer)`, whether the server learns of that. `load`: read and hash
   * it whole.
   */
  open(host, load) {
    this.#host = host;
    if (!this.#memory.isRecalled) this.#recalling ??= this.#recall();
    this.#source.open(load, this.#recalling);
  }

  #notRead(exception) {
    const { code, error, cause } = readingFailure(this.#settings, exception);
    if (code === "file_unreadable") this.failToRead(code, error, cause);
    else this.fail(code, error, cause);
  }

  #tell() {
    this.#host?.watch.activity();
    this.#host?.pump();
  }

  /** Look for an upload of this file that another page has begun. */
  async #recall() {
    const begun = await this.#memory.recall();
    if (begun) {
      this.key = begun.key;
      this.folder = begun.folder;
      this.#source.states = begun.states;
      this.isResumable = true;
    } else {
      // Another page may be sending that of the key that was given.
      this.key = newKey();
      this.isResumable = false;
    }
    this.#tell();
  }

  /** Whether the metadata can be sent: all in them is known. If not, `pump` is called once it is. */
  prepare() {
    return this.#memory.isRecalled && this.#authorization.take();
  }

  /** Whether a token is waited for. */
  get isAuthorizing() {
    return this.#authorization.isPending;
  }

  /** The server has refused the token by this signal. Returns whether the file goes on with another. */
  renewToken(signal) {
    if (this.isOver || !this.#authorization.refused(signal)) return false;
    this.interrupt({ signal });
    return true;
  }

  #denied(error, refusal) {
    if (this.isOver) return;
    const reason = `The page has no token for the upload: ${error?.message ?? error}`;
    if (refusal) this.refuse(refusal);
    else this.fail("unauthorized", reason, error, this.isResumable);
  }

  /**
   * The metadata, for a new attempt. `can` are the extensions to offer, `hasKey` tells whether the
   * upload can be resumed; `options` are those of Sender.
   */
  begin({ can, hasKey }, options) {
    const metadata = this.#metadata(can);
    if (!hasKey) delete metadata.upload;
    const sender = new Sender(metadata, this.#settings.chunksize, options);
    this.#attempt = new Attempt(this.#source, sender, {
      activity: () => this.#host.watch.activity(),
      due: () => this.#tell(),
      differs: () => this.#differs(),
      changed: () => this.#notRead(new LengthError()),
      failed: (error) => this.#notRead(error),
    });
    return sender.start();
  }

  #metadata(can) {
    const { name, modified } = this.#settings;
    const upload = this.key;
    const folder = this.folder || undefined;
    return { name, size: this.size, folder, modified, token: this.#authorization.token, upload, can };
  }

  /**
   * The server has said where the upload continues: the event "resume" of Sender. Returns whether
   * it has more of the file than before.
   */
  resume({ offset, keep, check }) {
    const hasMore = offset > this.#offset;
    if (hasMore) this.losses = 0;
    this.#authorization.accepted();
    this.#offset = offset;
    this.isResumable = true;
    this.#mayBeFinished = false;
    this.#progress.restart(offset, performance.now());
    this.#on.resumed?.(offset);
    this.#memory.save(this.key, keep, offset, this.#source.states);
    if (this.size === 0) this.chunkSent(); // no chunk of it is sent
    if (offset === 0 && this.size > 0 && this.#source.isAtBegin) this.#attempt.place(0);
    else this.#attempt.seek(offset, check);
    return hasMore;
  }

  /** The next attempt begins with the first byte. */
  #beginAnew() {
    this.#offset = 0;
    this.#source.close();
    this.#progress.restart(0, performance.now());
  }

  #differs() {
    this.#renewals += 1;
    if (this.#renewals <= MAX_RENEWALS) this.#host.restart(this);
    else this.fail("bad_message", "The server has other bytes than were sent, again and again.");
  }

  /**
   * After `taken_over`: whether that may have been a connection of this upload, which was given up
   * since it was silent, and whose metadata have come late. That happens once for each.
   */
  wasSilent() {
    if (this.#silent === 0) return false;
    this.#silent -= 1;
    return true;
  }

  /** Begin anew with another key: the server has other bytes. */
  renew() {
    this.isResumable = false;
    this.interrupt();
    this.#memory.forget();
    this.key = newKey();
    this.folder = this.#settings.folder;
    this.#source.states = [];
    this.#mayBeFinished = false;
  }

  /**
   * The server cannot resume the upload, which another one has begun. Returns whether to try again;
   * else the file begins anew at this server, or has failed.
   */
  meetsOld() {
    this.#meetings += 1;
    if (this.#meetings <= MAX_MEETINGS) return true;
    this.isResumable = false;
    if (this.#mayBeFinished) {
      this.fail("connection_lost", "The server cannot tell whether the file is stored.");
    } else {
      this.#beginAnew();
      this.#source.open(false);
    }
    return false;
  }

  /** Read what the Sender permits. */
  readAhead() {
    this.#attempt.readAhead();
  }

  /** The buffer of a chunk that was sent may be used again. */
  recycle(data) {
    this.#source.recycle(data);
  }

  /** Each part of the file is reported once. */
  chunkSent() {
    const { sent, ratio } = this.sender;
    if (sent <= this.#most) return;
    this.#most = sent;
    this.#on.chunk?.(ratio);
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
    const error = new UploadError(this.sender?.errors ?? [signal]);
    this.#on.error(signal);
    this.#finish(error, null, signal.kept > 0);
  }

  /** `name` and `path` are those that the server has stated, or null. */
  succeed({ name, path }) {
    const hash = this.sender.hash ?? this.#hash;
    this.#done({ outcome: "stored", name: name ?? this.name, path, hash });
  }

  /** The server has the file already, at `path` if that is not null: it is not sent. */
  skip(path) {
    this.#done({ outcome: "skipped", name: this.name, path, hash: null });
  }

  #done(what) {
    const seconds = (performance.now() - this.#began) / 1000;
    this.#finish(null, { ...what, size: this.size, seconds });
  }

  fail(code, error, cause, isKept) {
    if (this.isOver) return;
    const signals = [...(this.sender?.errors ?? []), { error, fatal: true, code }];
    this.mayBeStored = this.#isFinished;
    const options = cause === undefined ? undefined : { cause };
    this.#finish(new UploadError(signals, options), null, isKept);
  }

  /** Fail by the end of a connection: {code, error, cause}, or with the `signal` of the server. */
  failWith({ code, error, cause, signal }) {
    if (signal) this.refuse(signal);
    else this.fail(code, error + this.mayBeStoredText("The server"), cause, this.isResumable);
  }

  /**
   * The connection is lost, by the `failure` if there is one: the file is sent on another one. With a
   * `signal` the server has said that the file is not stored.
   */
  interrupt(failure = {}) {
    if (failure.code === "timeout") this.#silent += 1;
    this.#mayBeFinished = this.#isFinished && !failure.signal;
    this.#hash = this.sender?.hash ?? this.#hash;
    this.#attempt?.end();
    this.#attempt = null;
    this.#host = null;
    if (this.isResumable) this.#source.leave();
    else this.#beginAnew();
  }

  /** The upload does not go on now. */
  rest() {
    this.#source.rest();
  }

  get #isFinished() {
    return this.#mayBeFinished || (this.sender?.isFinished ?? false);
  }

  /** A sentence for failures after `finished`, after a space; else an empty string. */
  mayBeStoredText(subject) {
    if (!this.#isFinished) return "";
    return ` ${subject} may have stored the file nevertheless.`;
  }

  /** Fail; the server keeps what it has, since the file may be there again later. */
  failToRead(code, error, cause) {
    this.fail(code, error, cause, this.isResumable && (this.sender?.sent ?? 0) > 0);
  }

  /** `isKept`: the server has a part of the file, which may be continued later. */
  #finish(error, receipt, isKept = false) {
    if (this.isOver) return; // ended by the page's handler for the error
    this.isOver = true;
    this.isKept = isKept;
    this.#settings.signal?.removeEventListener("abort", this.abortBySignal);
    this.#attempt?.end(); // its sender stays, for the connection
    this.#source.close();
    this.#memory.end(isKept);
    if (error) {
      this.#settle.reject(error);
      this.#on.failure(error);
    } else {
      if (receipt.outcome === "stored") this.sample(this.size);
      this.#settle.resolve(receipt);
      this.#on.success(receipt);
    }
    this.#host?.drop(this);
  }

  /** Note how far the upload is, if it is remembered. */
  async note() {
    if (!this.isOpen || !this.sender) return;
    await this.#memory.note(this.sender.sent, () => this.#source.newestStates());
  }
}
