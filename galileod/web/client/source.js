// The file of an upload, as it is read over all its connections: a reader, which may be ended and
// opened again.

class Source {
  states; // of the hash: where another reader can begin
  #settings;
  #on;
  #opening = null; // a promise, from `open` to the end of the reader
  #stopping = null; // an AbortController that ends the reader
  #resting = null; // a promise, after `rest`
  #reader = null;
  #isLoaded = false; // whether the reader has all bytes in memory
  #hasRead = false; // whether the reader may have left the beginning of the file

  /** `on` has the handlers `opened()` and `failed(error)`. */
  constructor(settings, on) {
    this.#settings = settings;
    this.#on = on;
    this.states = [];
  }

  get hashType() {
    return this.#settings.hashType;
  }

  /** Whether the reader is there; of a file that is loaded, all bytes. */
  get isOpen() {
    return this.#reader !== null;
  }

  /** Whether the next slice is the first one without `seek`. */
  get isAtBegin() {
    return !this.#hasRead;
  }

  /** `load`: read and hash the file whole. `before` is waited for, if it is a promise. */
  open(load, before) {
    this.#opening ??= this.#open(load, before);
  }

  async #open(load, before) {
    const stopping = new AbortController();
    this.#stopping = stopping;
    const { signal } = stopping;
    try {
      if (this.#resting) await this.#resting;
      if (before) await before;
      if (signal.aborted) return;
      const opening = load
        ? loadFile(this.#settings)
        : openReader(this.#settings, signal, this.states);
      const reader = await opening;
      if (signal.aborted) return;
      this.#isLoaded = load;
      this.#reader = reader;
      this.#on.opened();
    } catch (error) {
      if (!signal.aborted) this.#on.failed(error);
    }
  }

  /** The bytes of a slice, or a promise of them. */
  read({ start, end }) {
    this.#hasRead = true;
    return this.#reader.read(start, end);
  }

  /** The hash of the whole file, or a promise of it. */
  digest() {
    return this.#reader.digest();
  }

  /**
   * Go on at `offset`. Returns a promise: of the hash of the bytes below, null if it is not known, or
   * undefined if the reader has ended meanwhile.
   */
  async seek(offset) {
    const opening = this.#opening;
    await opening;
    if (this.#opening !== opening) return undefined;
    this.#hasRead = true;
    return this.#reader?.seek(offset);
  }

  /** The buffer of a chunk that was sent may be used again. */
  recycle(data) {
    this.#reader?.recycle?.(data);
  }

  /** A promise of the newest states of the hash; of none if the file cannot be read. */
  async newestStates() {
    // That it cannot be read is told elsewhere; the states only save time.
    return (await this.#reader?.states().catch(() => [])) ?? [];
  }

  /** The upload does not go on now: end a reader that is in the way, but know its states. */
  rest() {
    if (!this.#reader) return;
    const stopping = this.#stopping;
    this.#resting = this.newestStates().then((states) => {
      this.states = states;
      stopping.abort();
    });
    this.#forget();
  }

  /** The connection is lost: what was loaded is read again, and takes no memory until then. */
  leave() {
    if (this.#isLoaded || !this.#reader) this.close();
  }

  close() {
    this.#stopping?.abort();
    this.#forget();
  }

  #forget() {
    this.#stopping = null;
    this.#reader = null;
    this.#opening = null;
    this.#hasRead = false;
  }
}
