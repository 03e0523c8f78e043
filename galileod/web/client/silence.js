// The idle timeout: measures the time without activity. Times are in ms and are passed in.

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

  get isDoubted() {
    return this.#isDoubted;
  }

  /** The connection may be lost without a sign of it: until the next activity another limit counts. */
  doubt(now) {
    this.#last = now;
    this.#isDoubted = true;
  }

  /**
   * Whether `limit` is exceeded, or in doubt the lower one of `limit` and `doubted`, and was exceeded
   * at the previous call too: when a suspended page resumes, its timers run before the events that
   * arrived during the suspension.
   */
  exceeded(now, limit, doubted = limit) {
    if (now - this.#last < (this.#isDoubted ? Math.min(doubted, limit) : limit)) return false;
    const confirmed = this.#suspected;
    this.#suspected = true;
    return confirmed;
  }
}
