// The sending side of one connection as a state machine without I/O: which extensions are agreed,
// which file may begin, and which file a message of the server is about. Sections 8 to 10 of the
// protocol: `resume`, many files, by `next`, and questions about them, by `ask`.

const LIMITS = ["next", "whole", "room"];

/** The files of one connection. `senders` has the Sender of each, by its number. */
class Line {
  senders = [];
  agreed = false; // whether the server takes further files
  resumable = false; // whether its uploads can be resumed
  asks = false; // whether the server answers questions
  heard = false; // whether the first signal has come
  #offers;
  #last = false; // the server takes no more files here
  #limits = { next: 0, whole: 0, room: 0 };
  #open = new Map(); // number of each further file without an answer → its bytes if sent whole
  #answered = new Set(); // numbers of the files with an answer that are not below #allBelow
  #allBelow = 0; // every file with a lower number has an answer
  #questions = 0; // how many were asked
  #asked = null; // the number of entries of the question that has no answer
  #underWay = 0; // bytes of the whole files in #open

  /** `offers`: the extensions that the metadata of file 0 offer. */
  constructor(offers) {
    this.#offers = offers;
  }

  /** The extensions for the metadata of file 0. */
  get can() {
    return this.#offers.length > 0 ? this.#offers : undefined;
  }

  /** Whether a file could begin here, now or later. */
  get takesMore() {
    return this.senders.length === 0 || (this.agreed && !this.#last);
  }

  /** Whether a file of this size is sent in one go, without a `ready`. */
  isWhole(size) {
    return this.senders.length > 0 && (size === 0 || size <= this.#limits.whole);
  }

  /** Whether a file of this size may begin now. */
  mayBegin(size) {
    if (!this.takesMore) return false;
    if (this.senders.length === 0) return true;
    if (!this.isBetween || this.#open.size >= this.#limits.next) return false;
    return !this.isWhole(size) || this.#underWay + size <= this.#limits.room;
  }

  /** Whether the file that began last is finished or answered. */
  get isBetween() {
    const number = this.senders.length - 1;
    return this.hasAnswer(number) || this.senders[number].isFinished;
  }

  /** Whether a question may be asked now: between two files, and before the first byte of file 0. */
  get mayAsk() {
    if (!this.asks || this.isAsking || !this.takesMore) return false;
    return this.isBetween || this.isUntouched;
  }

  /** Whether file 0 is the only one, goes on, and nothing but its metadata was sent. */
  get isUntouched() {
    const [first, ...others] = this.senders.slice(0, 2);
    return others.length === 0 && first?.isTouched === false && first.state !== "ended";
  }

  get isAsking() {
    return this.#asked !== null;
  }

  /** The question whether the server has these files, each {name, folder, size, modified}. */
  ask(entries) {
    if (!this.mayAsk) throw new Error("No question may be asked now.");
    this.#asked = entries.length;
    this.#questions += 1;
    return JSON.stringify({ ask: entries, n: this.#questions });
  }

  /** Whether any file has an answer. */
  get hasProgress() {
    return this.#allBelow + this.#answered.size > 0;
  }

  /** Whether each file that has begun has an answer. */
  get isIdle() {
    return this.#allBelow === this.senders.length;
  }

  hasAnswer(number) {
    return number < this.#allBelow || this.#answered.has(number);
  }

  /** Begin a file: returns its number. `sender` is made for `isWhole(size)`. */
  begin(sender, size) {
    if (!this.mayBegin(size)) throw new Error("No file may begin now.");
    const number = this.senders.length;
    if (number > 0) {
      const bytes = this.isWhole(size) ? size : 0;
      this.#open.set(number, bytes);
      this.#underWay += bytes;
    }
    this.senders.push(sender);
    return number;
  }

  /**
   * Handle a message of the server. Returns an event as of Sender.receive, with the `number` of
   * its file, and `ends`: whether it is an error that ends the connection. A "violation" ends the
   * connection too. "held" is a Map from the indexes of those files of the question that the server has
   * to their paths, null where it does not tell them. "over" is the answer about a file whose sender has ended. `number` is null, or
   * that of an answered file, for an error that is about no file that still waits. The caller
   * calls `answered` for each file that is over.
   */
  receive(text) {
    const signal = parseSignal(text);
    if (signal === null) {
      const quoted = typeof text === "string" ? JSON.stringify(text.slice(0, 80)) : "binary data";
      return violation("bad_message", `The server sent an invalid message: ${quoted}.`);
    }
    this.#agree(signal);
    const { error, ready, close, held } = signal;
    if (this.asks && held !== undefined && !error && !ready && !close) return this.#hear(signal);
    const number = this.agreed ? (signal.file ?? 0) : 0;
    const ends = Boolean(signal.error && signal.fatal) && !(this.agreed && signal.next);
    const isKnown = Number.isInteger(number) && number >= 0 && number < this.senders.length;
    if (isKnown && this.hasAnswer(number)) {
      return { type: ends ? "fatal" : "ignored", signal, number, ends };
    }
    const sender = isKnown ? this.senders[number] : null;
    if (!sender) {
      if (ends) return { type: "fatal", signal, number: null, ends };
      return violation("bad_message", "The server sent a signal about a file that was not sent.");
    }
    if (sender.state === "ended") {
      // The caller has given it up; what matters is that the server has answered.
      const over = signal.error ? signal.fatal : !signal.ready && signal.close;
      return { type: over ? "over" : "ignored", signal, number, ends };
    }
    return { signal, ...sender.receive(signal, this.resumable), number, ends };
  }

  /** The answer to a question. */
  #hear({ held, n, paths }) {
    const isIndex = (each) => Number.isInteger(each) && each >= 0 && each < this.#asked;
    if (!this.isAsking || n !== this.#questions || !Array.isArray(held) || !held.every(isIndex)) {
      return violation("bad_message", "The server answered a question that was not asked.");
    }
    this.#asked = null;
    const known = Array.isArray(paths) && paths.length === held.length ? paths : [];
    const pathOf = (index) => (typeof known[index] === "string" ? known[index] : null);
    return { type: "held", held: new Map(held.map((entry, index) => [entry, pathOf(index)])) };
  }

  #agree(signal) {
    const { error, ready, close, can } = signal;
    if (!this.heard && (error || ready || close)) {
      this.heard = true;
      const both = this.#offers.filter((each) => Array.isArray(can) && can.includes(each));
      this.resumable = both.includes("resume");
      this.agreed = both.includes("next") && signal.next > 0;
      this.asks = both.includes("ask") && this.agreed;
      if (this.agreed) this.#raise(signal);
    } else if (this.agreed && !error) this.#raise(signal); // in an error `next` is no limit
    if (this.agreed && signal.last) this.#last = true;
  }

  #raise(signal) {
    for (const name of LIMITS) {
      const value = signal[name];
      if (Number.isInteger(value) && value > this.#limits[name]) this.#limits[name] = value;
    }
  }

  /** The file has its answer: `close`, or an error that ended it. */
  answered(number) {
    this.#underWay -= this.#open.get(number) ?? 0;
    this.#open.delete(number);
    this.senders[number] = null; // thousands may follow
    this.#answered.add(number);
    while (this.#answered.delete(this.#allBelow)) this.#allBelow += 1;
  }
}

/** The object in a message, or null if it is not an object. */
function parseSignal(text) {
  try {
    const signal = JSON.parse(text);
    return typeof signal === "object" && !Array.isArray(signal) ? signal : null;
  } catch {
    return null;
  }
}
