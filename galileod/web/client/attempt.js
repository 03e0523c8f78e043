// One attempt of an upload, on one connection: what the Sender permits is read from the Source.

class Attempt {
  sender;
  isSeeking = false; // whether the source is on its way to where the upload continues
  #source;
  #on;
  #isOver = false;

  /**
   * `on` has the handlers `activity()`, `due()` for when something may be due, `differs()` if the
   * server has other bytes, `changed()` if the file has another size, and `failed(error)` if it
   * cannot be read. None is called after `end`.
   */
  constructor(source, sender, on) {
    this.#source = source;
    this.sender = sender;
    this.#on = on;
  }

  /** Read what the Sender permits. */
  readAhead() {
    if (!this.#source.isOpen) return;
    for (let slice = this.sender.nextSlice(); slice; slice = this.sender.nextSlice()) {
      this.#readSlice(slice);
      if (slice.last) this.readHash();
    }
  }

  /**
   * Go to `offset`, where the upload continues. `check` is the hash of the bytes below that the
   * server has, {type, value}, or null.
   */
  async seek(offset, check) {
    this.isSeeking = true;
    try {
      const hash = await this.#source.seek(offset);
      if (hash === undefined || this.#isOver) return;
      this.isSeeking = false;
      if (this.#isOther(hash, check)) this.#on.differs();
      else this.place(offset);
    } catch (error) {
      if (!this.#isOver) this.#on.failed(error);
    }
  }

  /** Whether both hashes are known, and differ; also hexadecimal digits in capitals are known. */
  #isOther(hash, check) {
    const { type, value } = check ?? {};
    if (hash === null || typeof type !== "string" || typeof value !== "string") return false;
    return type.toLowerCase() === this.#source.hashType && value.toLowerCase() !== hash;
  }

  /** The source is at `offset`, where the upload continues. */
  place(offset) {
    this.sender.resumeAt(offset);
    if (this.sender.isPlanned) this.readHash();
    this.#on.due();
  }

  #readSlice(slice) {
    const store = (data) => {
      if (!this.sender.sliceRead(slice, data)) this.#on.changed();
    };
    this.#take(this.#source.read(slice), store);
  }

  readHash() {
    const type = this.#source.hashType;
    this.#take(this.#source.digest(), (value) => {
      this.sender.hashKnown(value === null ? null : { type, value });
    });
  }

  /** Pass what is read to `store`: at once if it was loaded; then the caller sends it. */
  #take(reading, store) {
    if (!(reading instanceof Promise)) {
      store(reading);
      return;
    }
    reading.then(
      (value) => {
        if (this.#isOver) return;
        this.#on.activity();
        store(value);
        if (!this.#isOver) this.#on.due();
      },
      (error) => this.#isOver || this.#on.failed(error),
    );
  }

  end() {
    this.#isOver = true;
    this.sender.end();
  }
}
