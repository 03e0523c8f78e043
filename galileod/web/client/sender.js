// The sending side of one file as a state machine without I/O and without a clock. The caller
// passes in the signals of the server, and asks which slice to read and which message to send.

const MAX_CHUNK = 16 * 2 ** 20; // bytes; a server may ask for more, but a chunk is held in memory
const MAX_CREDITS = 1024; // unanswered `ready` signals; a correct server never has as many
const MAX_ERRORS = 100; // error signals that are kept for the page
const READ_AHEAD = 4 * 2 ** 20; // bytes; two slices are read ahead, more only within this limit

/** A valid chunk size, at most MAX_CHUNK; 0 for a value that is not one. */
function chunkSize(value) {
  return Number.isInteger(value) && value > 0 ? Math.min(value, MAX_CHUNK) : 0;
}

/**
 * One attempt to send a file, as the protocol sees it. `state` is "start", "sending" (metadata
 * sent), "finishing" (all bytes sent), "awaitingClose" (`finished` sent), or "ended". A call that
 * the state does not allow throws and changes nothing.
 *
 * A further file of a connection (section 9 of the protocol) has `finished` behind its last byte,
 * without a `ready`; one that is sent `whole` needs no `ready` at all.
 *
 * If the upload can be resumed (section 8), the first `ready` is the event "resume", and nothing
 * is due before `resumeAt`.
 */
class Sender {
  state = "start";
  sent = 0; // bytes of the file that the server has, or that were returned as chunks
  isTouched = false; // whether a chunk or `finished` was returned
  isFinished = false; // whether `finished` was returned; it stays so after the end
  hash = null; // {type, value} as sent in `finished`
  errors = []; // the server's error signals, at most MAX_ERRORS and a fatal one
  #file;
  #chunksize;
  #further;
  #whole;
  #heard = false; // whether the first `ready`, `close` or error has come
  #isReady = false; // whether the first `ready` has come
  #isPlaced = true; // whether it is known where the upload continues
  #credits = []; // bytes that each unanswered `ready` allows, oldest first
  #slices = []; // {start, end, last, data}: read or being read, each for one credit
  #planned = 0; // the end of the last slice that was returned for reading
  #allPlanned = false;
  #finished = null; // the signal, once the hash is known

  /**
   * `file` has the keys of the metadata: `name`, `size`, and optionally `folder`, `modified`,
   * `token`, `upload` and `can`. `chunksize` is for a `ready` that names none.
   */
  constructor(file, chunksize, { further = false, whole = false } = {}) {
    this.#file = file;
    this.#chunksize = chunksize;
    this.#further = further;
    this.#whole = whole;
    if (whole) this.#credits.push(Infinity);
  }

  /** The metadata, which is the first message. */
  start() {
    if (this.state !== "start") throw new Error(`The upload is ${this.state}.`);
    this.state = "sending";
    const { name, size, folder, modified, token, upload, can } = this.#file;
    // Keys without a value are left out.
    return JSON.stringify({ name, size, folder, modified, token, upload, can });
  }

  /** Whether the metadata have a key by which the upload can be resumed. */
  get hasKey() {
    return this.#file.upload !== undefined;
  }

  /**
   * Handle a signal of the server about this file. `resumable`: client and server agree on the
   * extension `resume`. Returns an event, by `type`: "ready", "resume" with the `offset`, for how
   * many seconds the upload is kept (`keep`), and the hash of the bytes below (`check`, or null),
   * "error" and "fatal" with the `signal`, "stored" with the server's `name` and `path`, each or null,
   * "ignored", or "violation" with a `code` and a sentence `error`. The file is over after "fatal", "stored" and
   * "violation"; the caller then calls `end`.
   */
  receive(signal, resumable = false) {
    const isFirst = !this.#heard;
    this.#heard ||= Boolean(signal.error || signal.ready || signal.close);
    const mayResume = resumable && this.hasKey;
    if (signal.error) {
      if (this.errors.length < MAX_ERRORS || signal.fatal) this.errors.push(signal);
      return { type: signal.fatal ? "fatal" : "error", signal };
    }
    if (signal.ready) {
      const isPlace = mayResume && !this.#isReady && !this.#whole; // also behind a warning
      this.#isReady = true;
      return this.#receiveReady(signal, isPlace);
    }
    if (!signal.close) return { type: "ignored" };
    return this.#receiveClose(signal, isFirst && mayResume);
  }

  /** `mayBeStored`: an earlier attempt may have stored the file. */
  #receiveClose({ name, path }, mayBeStored) {
    if (this.state !== "awaitingClose" && !mayBeStored) {
      const error = "The server ended the upload before it was complete.";
      return violation("closed_early", error);
    }
    const text = (value) => (typeof value === "string" && value ? value : null);
    return { type: "stored", name: text(name), path: text(path) };
  }

  #receiveReady({ chunksize, offset, keep, check }, mayResume) {
    // Behind the last byte of a further file a `ready` has no answer.
    if (this.#further && this.#allPlanned) return { type: "ignored" };
    if (this.#credits.length >= MAX_CREDITS) {
      const error = `The server sent more than ${MAX_CREDITS} ready signals at once.`;
      return violation("bad_message", error);
    }
    const { size } = this.#file;
    if (mayResume && !(Number.isInteger(offset) && offset >= 0 && offset <= size)) {
      const error = `The server did not send an offset from 0 to ${size}.`;
      return violation("bad_message", error);
    }
    this.#credits.push(chunkSize(chunksize) || this.#chunksize);
    if (!mayResume) return { type: "ready" };
    this.#isPlaced = false;
    const seconds = keep > 0 ? Number(keep) : 0;
    return { type: "resume", offset, keep: seconds, check: check ?? null };
  }

  /** The upload continues at this offset, that of the event "resume". */
  resumeAt(offset) {
    if (this.#isPlaced) throw new Error("The upload has its place.");
    this.#isPlaced = true;
    this.sent = this.#planned = offset;
    if (offset < this.#file.size) return;
    this.#allPlanned = true;
    this.state = "finishing";
  }

  /**
   * The next slice to read, from `start` to before `end`, or null while none may be read: each
   * needs a credit, and only a few are read ahead. `last`: it ends with the file. An empty file
   * is one empty slice.
   */
  nextSlice() {
    if (!this.#isPlaced || this.#allPlanned || this.#credits.length === 0) return null;
    const start = this.#planned;
    const end = Math.min(start + this.#credits[0], this.#file.size);
    if (this.#slices.length >= 2 && end - this.sent > READ_AHEAD) return null;
    this.#credits.shift();
    const slice = { start, end, last: end === this.#file.size, data: null };
    this.#slices.push(slice);
    this.#planned = end;
    this.#allPlanned = slice.last;
    return slice;
  }

  /** Store the bytes of a slice. Returns false and stores nothing if the length is wrong. */
  sliceRead(slice, data) {
    if (data.byteLength !== slice.end - slice.start) return false;
    slice.data = data;
    if (this.#further && this.#file.size === 0) this.take(); // its empty chunk is not sent
    return true;
  }

  /** Set the hash of the whole file, {type, value}; null: none is sent. */
  hashKnown(hash) {
    this.hash = hash;
    this.#finished = JSON.stringify(hash ? { finished: true, hash } : { finished: true });
  }

  /** What can be sent now: "chunk", "finished", or null. */
  due() {
    if (!this.#isPlaced) return null;
    if (this.#slices.length > 0) return this.#slices[0].data === null ? null : "chunk";
    const allSent = this.state === "finishing" || this.state === "awaitingClose";
    if (!allSent || this.#finished === null) return null;
    if (this.#further) return this.state === "finishing" ? "finished" : null;
    return this.#credits.length > 0 ? "finished" : null;
  }

  /**
   * The message that is due. Each `ready` after the last chunk of file 0 is answered with
   * `finished`.
   */
  take() {
    switch (this.due()) {
      case "chunk": {
        this.isTouched = true;
        const { data, end, last } = this.#slices.shift();
        this.sent = end;
        if (last) this.state = "finishing";
        return data;
      }
      case "finished":
        this.#credits.shift();
        this.state = "awaitingClose";
        this.isTouched = this.isFinished = true;
        return this.#finished;
      default:
        throw new Error("Nothing is due.");
    }
  }

  /** Whether no slice is left to read: the hash is next. */
  get isPlanned() {
    return this.#allPlanned;
  }

  /** The part of the file that the server has, or that was returned as chunks, from 0 to 1. */
  get ratio() {
    return this.#file.size > 0 ? this.sent / this.#file.size : 1;
  }

  /** Whether the server waits for a message that could not be sent yet. */
  get hasPending() {
    return this.#slices.length > 0 || this.#credits.length > 0;
  }

  /** The upload is over, for whatever reason: from now on nothing is due. */
  end() {
    this.state = "ended";
    this.#slices.length = 0;
    this.#credits.length = 0;
  }
}

function violation(code, error) {
  return { type: "violation", code, error };
}

/** A key of an upload, as C8.2 of the protocol has it. */
function newKey() {
  return hexOf(crypto.getRandomValues(new Uint8Array(16)));
}

function hexOf(bytes) {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
