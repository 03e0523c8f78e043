// The uploads of the page without its DOM: which run, which wait, and how each of them stands.

import { tooLargeText } from "./page_words.js";

const AT_ONCE = 3;

const ENDED = new Set(["stored", "failed", "cancelled"]);

export const hasEnded = ({ state }) => ENDED.has(state);

/** Codes of failures that stay: of a file above the limit, or one that is not what was chosen. */
const FOR_GOOD = new Set(["too_large", "file_changed", "file_unreadable"]);

/** Whether there is any use in trying again. */
export const mayRetry = ({ state, error }) =>
  state === "cancelled" || (state === "failed" && !FOR_GOOD.has(error.code));

/**
 * `send(file, onprogress)` begins an upload, as the client's `upload` does. `largest` is the
 * limit in bytes. `onchange(upload)` is called after each change. `proof()` is what uploads are shown
 * with: while it is null none is begun, and one that the server does not authorize waits again where it
 * has changed since; `go` is called when there is a new one.
 */
export class Queue {
  uploads = []; // all that were ever added, in that order
  #waiting = new Set(); // in the order in which they will be sent
  #running = new Map(); // upload → what `send` gave
  #send;
  #largest;
  #onchange;
  #proof;

  constructor({ send, largest, onchange, proof = () => true }) {
    this.#send = send;
    this.#largest = largest;
    this.#onchange = onchange;
    this.#proof = proof;
  }

  /** Begin what waits, as far as there is room. */
  go() {
    for (const upload of this.#waiting) {
      if (this.#proof() === null || this.#running.size >= AT_ONCE) return;
      this.#waiting.delete(upload);
      this.#start(upload);
    }
  }

  get active() {
    return this.#running.size + this.#waiting.size > 0;
  }

  /** Take files in, and give their uploads, each with its `state`. */
  add(files) {
    const added = Array.from(files, (file) => ({ file, name: file.name, size: file.size }));
    for (const upload of added) {
      this.uploads.push(upload);
      this.#enter(upload);
    }
    this.go();
    return added;
  }

  /** Try again what failed or was cancelled; before others, since somebody waits for it. */
  retry(uploads) {
    const others = [...this.#waiting];
    this.#waiting.clear();
    for (const upload of uploads) if (mayRetry(upload)) this.#enter(upload);
    for (const upload of others) this.#waiting.add(upload);
    this.go();
  }

  cancel(uploads) {
    // Those that wait go first, so that none of them is started in between.
    for (const upload of uploads) {
      if (this.#waiting.delete(upload)) this.#change(upload, { state: "cancelled" });
    }
    for (const upload of uploads) {
      if (upload.state === "checking") upload.late = true;
      this.#running.get(upload)?.abort();
    }
  }

  #enter(upload) {
    const fresh = { sent: 0, rate: 0, late: false, error: null, receipt: null };
    if (upload.size > this.#largest) {
      const reason = tooLargeText(upload.size, this.#largest);
      this.#change(upload, { ...fresh, state: "failed", error: { code: "too_large", reason } });
    } else {
      this.#waiting.add(upload);
      this.#change(upload, { ...fresh, state: "waiting" });
    }
  }

  #start(upload) {
    const shown = this.#proof();
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
      this.go();
    };
    sending.then(
      (receipt) => end({ state: "stored", sent: upload.size, receipt }),
      (error) => {
        if (error.code === "aborted") end({ state: "cancelled", error });
        else if (error.code === "unauthorized" && this.#proof() !== shown) {
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
