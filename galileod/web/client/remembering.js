// What is remembered of one upload over reloads, while its Transfer lives.

class Remembering {
  isRecalled; // whether it is known what an earlier page has begun
  #settings;
  #begun = null; // the BegunUpload, if there is one
  #isOver = false;

  constructor(settings) {
    this.#settings = settings;
    this.isRecalled = !this.#isWanted;
  }

  get #isWanted() {
    return this.#settings.resume && this.#settings.size >= MIN_REMEMBERED;
  }

  /** A promise of the BegunUpload of another page that goes on with this one, or of null. */
  async recall() {
    const begun = await recallUpload(this.#settings);
    this.isRecalled = true;
    if (this.#isOver) begun?.release();
    else this.#begun = begun;
    return this.#begun;
  }

  /** The server has `sent` bytes of the upload with this key, and keeps them for `keep` seconds. */
  save(key, keep, sent, states) {
    if (!this.#isWanted || keep === 0) return;
    this.#begun ??= new BegunUpload(this.#settings, key);
    this.#begun.save(keep, sent, states);
  }

  /** Note how far the upload is; `states()` is a promise of those of the hash. */
  async note(sent, states) {
    await this.#begun?.note(sent, states);
  }

  /** Forget what was begun: the upload begins anew. */
  forget() {
    this.#begun?.forget();
    this.#begun = null;
  }

  /** The upload has ended; `isKept`: the server has a part of it, and a later page may go on. */
  end(isKept) {
    this.#isOver = true;
    if (isKept) this.#begun?.release();
    else this.forget();
  }

  /** Returns what was begun, if anything, and leaves its end to the caller. */
  handOver() {
    const begun = this.#begun;
    this.#begun = null;
    return begun;
  }
}
