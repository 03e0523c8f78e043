// The files of `uploadAll` that wait for a connection.

class Waiting {
  #first = new Set(); // sent before the others
  #others = new Set();

  add(upload) {
    this.#others.add(upload);
  }

  /** Add behind those that are sent before the others. */
  addSoon(upload) {
    this.#first.add(upload);
  }

  /** Add as the next one. */
  addNext(upload) {
    this.#first = new Set([upload, ...this.#first]);
  }

  delete(upload) {
    this.#first.delete(upload);
    this.#others.delete(upload);
  }

  /** The file that is sent next, or undefined. */
  get next() {
    const queue = this.#first.size > 0 ? this.#first : this.#others;
    return queue.values().next().value;
  }

  /** All, in the order in which they are sent, as they are now. */
  list() {
    return [...this.#first, ...this.#others];
  }
}
