// The idle timeout: measures the time without activity. Times are in ms and are passed in.

class Silence {
  limit; // ms
  #last; // the time of the last activity
  #suspected = false;

  constructor(limit, now) {
    this.limit = limit;
    this.#last = now;
  }

  /** Something was sent, received or read. */
  activity(now) {
    this.#last = now;
    this.#suspected = false;
  }

  /** Allow `ms` more from now on. */
  extend(ms) {
    this.limit += ms;
  }

  /**
   * Whether the limit is exceeded, and was exceeded at the previous call too: when a suspended page
   * resumes, its timers run before the events that arrived during the suspension.
   */
  exceeded(now) {
    if (now - this.#last < this.limit) return false;
    const confirmed = this.#suspected;
    this.#suspected = true;
    return confirmed;
  }
}
