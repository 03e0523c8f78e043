// The questions of `uploadAll` whether the server has files already, before they are sent (section 10
// of the protocol).

const MAX_ASKED = 256; // files in a question
const MAX_QUESTION = 16_000; // bytes of its entries: every server accepts signals of 16 KiB

class Questions {
  #isWanted;
  #waiting;
  #on;
  #settled = new WeakSet(); // uploads that are not to be asked about, or not any more
  #tokens = new WeakMap(); // Connection → the `token` of its first file: it asks about files of that
  #open = new Map(); // Connection → the uploads of its question

  /**
   * `isWanted`: whether anything is asked; `waiting` has the files. `on` has `settings(upload)`,
   * `isSent(upload, connection)`, whether this has taken it, and `held(upload, path)` for those that
   * the server has; `path` is null where it does not tell it.
   */
  constructor(isWanted, waiting, on) {
    this.#isWanted = isWanted;
    this.#waiting = waiting;
    this.#on = on;
  }

  /** Whether the server is to be asked about a file before it is sent. */
  concerns(upload) {
    return this.#isWanted && !this.#settled.has(upload);
  }

  /** The server is not asked about a file, or not any more. */
  settle(upload) {
    this.#settled.add(upload);
  }

  /** A file waits for a connection; `isSoon`: before those that wait already. */
  wait(upload, isSoon) {
    const asks = this.concerns(upload);
    if (isSoon) this.#waiting.addSoon(upload, asks);
    else if (this.#isWanted && !asks) this.#waiting.addSettled(upload);
    else this.#waiting.add(upload);
  }

  /** `connection` has taken a file. */
  taken(upload, connection) {
    if (!this.#tokens.has(connection)) {
      this.#tokens.set(connection, this.#on.settings(upload).token);
    }
  }

  /** Whether an answer is waited for. */
  get areOpen() {
    return this.#open.size > 0;
  }

  /**
   * The entries of a question of `connection`; none if nothing is to be asked now. `first` is the
   * upload that has begun and may wait for the answer, if there is one.
   */
  ask(connection, first) {
    const isFirst = first !== undefined && this.concerns(first);
    if (!isFirst && this.#waiting.ready) return [];
    const asked = [];
    const entries = [];
    let bytes = 0;
    for (const upload of this.#candidates(isFirst ? [first] : [])) {
      const { name, folder, size, modified, token } = this.#on.settings(upload);
      if (token !== this.#tokens.get(connection)) break; // it may be another user's
      const entry = { name, folder: folder || undefined, size, modified };
      bytes += new TextEncoder().encode(JSON.stringify(entry)).length + 1;
      if (asked.length > 0 && (asked.length === MAX_ASKED || bytes > MAX_QUESTION)) break;
      asked.push(upload);
      entries.push(entry);
    }
    if (asked.length > 0) this.#open.set(connection, asked);
    for (const upload of asked) this.#waiting.delete(upload);
    return entries;
  }

  *#candidates(first) {
    yield* first;
    yield* this.#waiting.unasked();
  }

  /** The server has those files of the question that have these indexes; `held` maps them to paths. */
  answered(connection, held) {
    for (const [index, upload] of this.#end(connection).entries()) {
      const isSent = this.#on.isSent(upload, connection);
      if (!isSent && !isWaiting(upload)) continue; // it was paused, cancelled, or is asked about again
      this.settle(upload);
      this.#waiting.delete(upload);
      if (held.has(index)) this.#on.held(upload, held.get(index));
      else if (!isSent) this.wait(upload, false);
    }
  }

  /**
   * The connection has ended without an answer; `isRefused`: the server has refused the question.
   * Returns whether there was one.
   */
  unanswered(connection, isRefused) {
    const asked = this.#end(connection);
    for (const upload of asked) {
      if (isRefused) this.settle(upload);
      if (isWaiting(upload)) this.wait(upload, !isRefused);
    }
    return asked.length > 0;
  }

  #end(connection) {
    const asked = this.#open.get(connection) ?? [];
    this.#open.delete(connection);
    return asked;
  }
}
