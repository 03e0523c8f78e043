// The idle timeout: measures the time without activity. Times are in ms and are passed in.

const DOUBTED = 3_000; // the limit after the network or the machine came back

class Silence {
  #last; // the time of the last activity
  #suspected = false;
  #isDoubted = false;

  constructor(now) {
    this.#last = now;
  }

  /** Something was sent, received or read. */
  activity(now) {
    this.#last = now;
    this.#suspected = false;
    this.#isDoubted = false;
  }

  /** The connection may be lost without a sign of it: until the next activity the limit is low. */
  doubt(now) {
    this.#last = now;
    this.#isDoubted = true;
  }

  /**
   * Whether `limit` is exceeded, and was exceeded at the previous call too: when a suspended page
   * resumes, its timers run before the events that arrived during the suspension.
   */
  exceeded(now, limit) {
    if (now - this.#last < (this.#isDoubted ? Math.min(DOUBTED, limit) : limit)) return false;
    const confirmed = this.#suspected;
    this.#suspected = true;
    return confirmed;
  }
}
