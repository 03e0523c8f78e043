// The rate of many files together, and the time that the rest takes.

const FILE_COST = 131_072; // a file takes as long as this many bytes more: it is opened and stored
const TOTAL_WINDOW = 30_000; // ms over which the rates are taken
const TOTAL_STEP = 500; // ms between two samples that are kept
const LEAST_MEASURED = 1_000; // ms; after less time a time left would be a guess

class Total {
  #samples; // {at, bytes, files}, oldest first; at most one each TOTAL_STEP within TOTAL_WINDOW
  #latest;

  constructor(now) {
    this.#latest = { bytes: 0, files: 0 };
    this.reset(now);
  }

  /** What was measured before `now` (ms) does not count any more: after a pause or an outage. */
  reset(now) {
    this.#latest = { ...this.#latest, at: now };
    this.#samples = [this.#latest];
  }

  /** At the time `at`, `bytes` have left the browser and `files` have ended; neither decreases. */
  sample(at, bytes, files) {
    this.#latest = { at, bytes, files };
    const samples = this.#samples;
    if (at - samples.at(-1).at >= TOTAL_STEP) samples.push(this.#latest);
    // The oldest one that is kept begins the window, or lies just before it.
    const begin = samples.findLastIndex((each) => each.at <= at - TOTAL_WINDOW);
    if (begin > 0) samples.splice(0, begin);
  }

  /** Bytes a second. */
  get rate() {
    const { bytes, time } = this.#measured;
    return time > 0 ? (1000 * bytes) / time : 0;
  }

  /** Seconds for the bytes and files that are left, or null where nothing tells. */
  secondsLeft(bytes, files) {
    const measured = this.#measured;
    const done = workOf(measured.bytes, measured.files);
    if (measured.time < LEAST_MEASURED || done === 0) return null;
    return (workOf(bytes, files) * measured.time) / done / 1000;
  }

  get #measured() {
    const [first] = this.#samples;
    const { at, bytes, files } = this.#latest;
    return { time: at - first.at, bytes: bytes - first.bytes, files: files - first.files };
  }
}

/** Bytes and files in one number, so that files of all sizes can be compared. */
function workOf(bytes, files) {
  return bytes + files * FILE_COST;
}
