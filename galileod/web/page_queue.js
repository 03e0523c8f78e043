// The uploads of the page, without the DOM: which run, which wait, and the state of each.

import { tooLargeText } from "./page_words.js";

const MAX_RUNNING = 3;

const ENDED = new Set(["stored", "failed", "cancelled"]);

export const hasEnded = ({ state }) => ENDED.has(state);

/** Failures after which a retry would fail too: the file is too large, or has changed. */
const PERMANENT = new Set(["too_large", "file_changed", "file_unreadable"]);

/** Whether a retry may succeed. */
export const mayRetry = ({ state, error }) =>
  state === "cancelled" || (state === "failed" && !PERMANENT.has(error.code));

/**
 * `send(file, onprogress)` starts an upload, as the client's `upload` does. `largest` is the limit
 * in bytes. `onchange(upload)` is called after each change. `credential()` returns the current
 * credential. While that is null no upload is started. An upload that the server refuses as
 * unauthorized waits again if the credential has changed since it started. The caller of the
 * constructor calls `start` when the credential changes.
 */
export class Queue {
  uploads = []; // all that were ever added, in that order
  #waiting = new Set(); // in the order in which they are sent
  #running = new Map(); // upload → the result of `send`
  #send;
  #largest;
  #onchange;
  #credential;

  constructor({ send, largest, onchange, credential = () => "" }) {
    this.#send = send;
    this.#largest = largest;
    this.#onchange = onchange;
    this.#credential = credential;
  }

  /** Start waiting uploads, up to MAX_RUNNING at once. */
  start() {
    for (const upload of this.#waiting) {
      if (this.#credential() === null || this.#running.size >= MAX_RUNNING) return;
      this.#waiting.delete(upload);
      this.#start(upload);
    }
  }

  get active() {
    return this.#running.size + this.#waiting.size > 0;
  }

  /** Add files; returns their uploads, each with its `state`. */
  add(files) {
    const added = Array.from(files, (file) => ({ file, name: file.name, size: file.size }));
    for (const upload of added) {
      this.uploads.push(upload);
      this.#enter(upload);
    }
    this.start();
    return added;
  }

  /** Retry uploads that failed or were cancelled. They are sent before those that wait. */
  retry(uploads) {
    const others = [...this.#waiting];
    this.#waiting.clear();
    for (const upload of uploads) if (mayRetry(upload)) this.#enter(upload);
    for (const upload of others) this.#waiting.add(upload);
    this.start();
  }

  cancel(uploads) {
    // Waiting ones first: when a running one ends, the next waiting one is started.
    for (const upload of uploads) {
      if (this.#waiting.delete(upload)) this.#change(upload, { state: "cancelled" });
    }
    for (const upload of uploads) {
      if (upload.state === "checking") upload.mayBeStored = true;
      this.#running.get(upload)?.abort();
    }
  }

  #enter(upload) {
    const fresh = { sent: 0, rate: 0, mayBeStored: false, error: null, receipt: null };
    if (upload.size > this.#largest) {
      const reason = tooLargeText(upload.size, this.#largest);
      this.#change(upload, { ...fresh, state: "failed", error: { code: "too_large", reason } });
    } else {
      this.#waiting.add(upload);
      this.#change(upload, { ...fresh, state: "waiting" });
    }
  }

  #start(upload) {
    const used = this.#credential();
    const sending = this.#send(upload.file, ({ sent, rate }) => {
      const state = sent === upload.size ? "checking" : "sending";
      this.#change(upload, { state, sent, rate });
    });
    this.#running.set(upload, sending);
    this.#change(upload, { state: "sending" });
    const end = (how) => {
      this.#running.delete(upload);
      if (how.state === "waiting") this.#waiting.add(upload);
      this.#change(upload, { rate: 0, ...how });
      this.start();
    };
    sending.then(
      (receipt) => end({ state: "stored", sent: upload.size, receipt }),
      (error) => {
        if (error.code === "aborted") end({ state: "cancelled", error });
        else if (error.code === "unauthorized" && this.#credential() !== used) {
          end({ state: "waiting", sent: 0 });
        } else end({ state: "failed", error });
      },
    );
  }

  #change(upload, what) {
    Object.assign(upload, what);
    this.#onchange(upload);
  }
}
