// The uploads of the page, without the DOM: those of the client's `uploadAll`, and the credential
// that they wait for.

import { STATES, mayClear, mayPause, mayRetry, needsConnection } from "./page_states.js";
import { tooLargeText } from "./page_words.js";

/**
 * `uploadAll` is that of the client; `url` is for it. `largest` is the limit in bytes.
 * `onchange(upload)` is called after each change, `onoutage()` when no connection could be made.
 * `credential()` returns the current credential. While that is null no upload is started. `renew(old)`
 * gives another one than `old`, which has expired or is refused, or a promise of one, or nothing.
 * `onrefused()` is called when the server refuses the current credential, and there is no other one.
 * If there is none then, the upload that was refused waits. The caller of the constructor calls
 * `start` when there is another credential.
 */
export class Queue {
  #sending;
  #largest;
  #onchange;
  #onrefused;
  #credential;

  constructor({ uploadAll, url, largest, onchange, onoutage, onrefused, ...given }) {
    const { credential = () => "", renew = credential } = given;
    this.#largest = largest;
    this.#onchange = onchange;
    this.#onrefused = onrefused;
    this.#credential = credential;
    this.#sending = uploadAll({
      url,
      maxSize: largest,
      retries: Infinity, // the server was there: the page is from it
      resume: true,
      skipExisting: true,
      onretry: () => onoutage?.(),
      onfile: (upload) => this.#changed(upload),
      token: (file, old) => (old === undefined ? credential() : renew(old)) || undefined,
    });
  }

  /** The uploads in the order in which they were added. */
  get uploads() {
    return this.#sending.files;
  }

  /** Start waiting uploads, if there is a credential. */
  start() {
    if (this.uploads.length > 0) this.#steer();
  }

  #steer() {
    if (this.#credential() === null) this.#sending.hold();
    else this.#sending.release();
  }

  get active() {
    return this.#sending.active;
  }

  /** Of all uploads together; galileo.d.ts describes it. */
  get progress() {
    return this.#sending.progress;
  }

  /** Why and until when no connection is made; null while it is not, or none is needed. */
  get outage() {
    return this.uploads.some(needsConnection) ? this.#sending.outage : null;
  }

  /** How many are in each state; how many `mayPause` and `mayClear`, and of the failed `mayRetry`. */
  get count() {
    const count = Object.fromEntries(STATES.map((state) => [state, 0]));
    Object.assign(count, { mayPause: 0, mayClear: 0, mayRetry: 0 });
    for (const each of this.uploads) {
      count[each.state] += 1;
      if (mayPause(each)) count.mayPause += 1;
      if (mayClear(each)) count.mayClear += 1;
      if (each.state === "failed" && mayRetry(each)) count.mayRetry += 1;
    }
    return count;
  }

  /** Add files; returns their uploads, each with its `state`. */
  add(files) {
    this.#steer();
    return this.#sending.add(files);
  }

  /** Retry uploads that failed or were cancelled. They are sent before those that wait. */
  retry(uploads) {
    this.#sending.retry(uploads.filter(mayRetry));
  }

  retryFailed() {
    this.retry(this.uploads.filter(({ state }) => state === "failed"));
  }

  /** The server keeps what it has of paused uploads, and discards that of cancelled ones. */
  pause(uploads) {
    this.#sending.pause(uploads);
  }

  resume(uploads) {
    this.#sending.resume(uploads);
  }

  cancel(uploads) {
    this.#sending.abort(uploads);
  }

  /** Forget the uploads that have ended without a failure, or were cancelled; returns them. */
  clear() {
    const cleared = this.uploads.filter(mayClear);
    this.#sending.clear(cleared);
    return cleared;
  }

  #changed(upload) {
    const { state, error, size } = upload;
    if (state === "failed" && error.code === "unauthorized") this.#refused(upload);
    if (state === "failed" && size > this.#largest) error.reason = tooLargeText(size, this.#largest);
    this.#onchange(upload);
  }

  #refused(upload) {
    this.#onrefused?.();
    if (this.#credential() !== null) return;
    this.#steer();
    this.#sending.retry([upload]);
  }
}
