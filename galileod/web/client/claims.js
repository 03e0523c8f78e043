// The files that a connection has taken from the queue, and that have not begun: they are read ahead
// of their turn.

const MAX_CLAIMED = 64; // files; in bytes, READ_AHEAD

class Claims {
  #owner; // the Connection
  #host;
  #isMany; // whether small files are to be read whole
  #transfers = [];

  constructor(owner, host, isMany) {
    this.#owner = owner;
    this.#host = host;
    this.#isMany = isMany;
  }

  get size() {
    return this.#transfers.length;
  }

  /** The next file, or undefined. */
  get first() {
    return this.#transfers[0];
  }

  /** Take a file before the connection is open; returns false if there is none. */
  takeFirst() {
    const size = this.#host.peek(this.#owner);
    if (size === null) return false;
    this.#take(this.#isMany && size <= MAX_LOADED);
    return true;
  }

  #take(load) {
    const transfer = this.#host.take(this.#owner);
    this.#transfers.push(transfer);
    transfer.open(this.#owner, load);
  }

  /**
   * Take files up to READ_AHEAD, `left` bytes of which are those of the file that is being sent. A
   * large file is left to the connection that can begin it first, which is one that `isBetween` two.
   */
  fill(left, isBetween) {
    let bytes = this.#transfers.reduce((sum, { size }) => sum + size, left);
    while (this.size < MAX_CLAIMED) {
      const size = this.#host.peek(this.#owner);
      if (size === null) return;
      if (bytes + size > READ_AHEAD && (bytes > 0 || !isBetween)) return;
      this.#take(size <= MAX_LOADED);
      bytes += size;
    }
  }

  /** The next file begins. */
  shift() {
    return this.#transfers.shift();
  }

  /** A file is not sent; returns whether it was one of these. */
  remove(transfer) {
    const before = this.size;
    this.#transfers = this.#transfers.filter((each) => each !== transfer);
    return this.size < before;
  }

  /** Give all back to the queue; not one whose end is just being told to the page. */
  putBack() {
    for (const transfer of this.#transfers.splice(0).reverse()) {
      if (!transfer.isOver) this.#host.putBack(transfer);
    }
  }
}
