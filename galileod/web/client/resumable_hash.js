// A hash that can go back to a place that it has passed, for an upload that continues there.

const STATE_STEP = 16 * 2 ** 20; // bytes between two states that are kept
const MAX_STATES = 1024; // each of about 100 bytes; beyond it, every other one is dropped

class ResumableHash {
  at = 0; // bytes that were hashed
  #hasher;
  #states; // {at, state}, ascending
  #step = STATE_STEP;

  /** `hasher` is one of hash-wasm. `states` are those that an earlier page has saved. */
  constructor(hasher, states = []) {
    this.#hasher = hasher;
    this.#states = [...states];
  }

  /** The next bytes of the file. */
  update(bytes) {
    this.#hasher.update(bytes);
    this.at += bytes.byteLength;
    const last = this.#states[this.#states.length - 1]?.at ?? 0;
    if (this.at - last < this.#step) return;
    this.#states.push({ at: this.at, state: this.#hasher.save() });
    if (this.#states.length <= MAX_STATES) return;
    this.#states = this.#states.filter((_, index) => index % 2 === 1);
    this.#step *= 2;
  }

  /** Go back to the last known place up to `offset`; returns it. The bytes from there follow. */
  back(offset) {
    while (this.#states.length > 0 && this.#states[this.#states.length - 1].at > offset) {
      this.#states.pop();
    }
    if (this.at <= offset && this.at >= (this.#states[this.#states.length - 1]?.at ?? 0)) {
      return this.at;
    }
    this.at = 0;
    this.#hasher.init();
    const last = this.#states[this.#states.length - 1];
    try {
      if (last) this.#hasher.load(last.state);
      this.at = last?.at ?? 0;
    } catch {
      this.#states = []; // of another version of the library: all bytes are hashed again
      this.#hasher.init();
    }
    return this.at;
  }

  /** The newest states, at most `most`. */
  states(most) {
    return this.#states.slice(-most);
  }

  /** The hash of the bytes so far, in hex. More may follow. */
  digest() {
    const state = this.#hasher.save();
    const digest = this.#hasher.digest("hex");
    this.#hasher.load(state);
    return digest;
  }
}
