// The files of `uploadAll` that wait for a connection.

class Waiting {
  #first = new Set(); // sent before the others
  #settled = new Set(); // where the server is asked whether it has files: it does not have these
  #soon = new Set(); // sent before the others, but with that question
  #others = new Set();

  add(upload) {
    this.#others.add(upload);
  }

  /** Add one of which it is known that the server does not have it. */
  addSettled(upload) {
    this.#settled.add(upload);
  }

  /** Add behind those that are sent before the others; `asks`: with a question. */
  addSoon(upload, asks) {
    (asks ? this.#soon : this.#first).add(upload);
  }

  /** Add as the next one. */
  addNext(upload, asks) {
    if (asks) this.#soon = new Set([upload, ...this.#soon]);
    else this.#first = new Set([upload, ...this.#first]);
  }

  delete(upload) {
    for (const queue of this.#queues) queue.delete(upload);
  }

  /** The file that is sent next, or undefined. */
  get next() {
    return firstIn(this.#queues);
  }

  /** The one that is sent next without a question, or undefined. */
  get ready() {
    return firstIn([this.#first, this.#settled]);
  }

  /** All others, in the order in which they are sent. */
  *unasked() {
    yield* this.#soon;
    yield* this.#others;
  }

  /** All, in the order in which they are sent, as they are now. */
  list() {
    return this.#queues.flatMap((queue) => [...queue]);
  }

  get #queues() {
    return [this.#first, this.#settled, this.#soon, this.#others];
  }
}

function firstIn(queues) {
  const queue = queues.find(({ size }) => size > 0);
  return queue?.values().next().value;
}
