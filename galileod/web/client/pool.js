// The connections to a server: makes as many as are needed for the files of a queue, and makes them
// again after failures.

const PATIENCE = 10_000; // ms of silence after which a connection is lost, where that costs nothing

class Pool {
  #settings;
  #queue;
  #random;
  #connections = new Set();
  #opened = new Set(); // those of them that the server has accepted
  #everOpened = false;
  #failures = 0; // in a row, without anything that got through
  #outage = null; // {attempt, at, error, wasConnected}: no connection is made before `at`, then one
  #timer = null;
  #probe = null; // the connection that is to show whether the server is back
  #patience = PATIENCE;

  /**
   * `settings`: `limit`, connections at once; `retries`, undefined for the default; `can`: the
   * extensions to offer; `onretry`. `queue` has the Transfers to send: `peek(connection)`, {size, url,
   * timeout} of the next one, for this connection or for a new one, or null; `take(connection)`, that
   * one; `putBack(transfer)` for one that did
   * not begin; `interrupted(transfer)` for one that goes on; `left(transfer)` for one that has
   * stopped after Connection's `leave`; `giveUp(failure)` for all that wait, when there is no further
   * attempt; and optionally `closed(connection)`. Where it offers `ask`, it also has the questions: see
   * the class Questions.
   */
  constructor(settings, queue, random = Math.random) {
    this.#settings = settings;
    this.#queue = queue;
    this.#random = random;
    this.#host.closed = queue.closed;
  }

  /** Make connections while there are files for them. */
  fill() {
    while (this.#mayConnect && this.#queue.peek() !== null) this.#connect();
    if (this.#queue.peek() !== null || this.#connections.size > 0) return;
    this.#endOutage();
    globalThis.removeEventListener?.("online", this.#wake);
  }

  get #mayConnect() {
    if (this.#timer !== null || this.#probe !== null) return false;
    return this.#connections.size < this.#settings.limit;
  }

  #connect() {
    const { url, timeout } = this.#queue.peek();
    const { can, restarts } = this.#settings;
    const connection = new Connection({ url, timeout, can, restarts }, this.#host);
    this.#connections.add(connection);
    globalThis.addEventListener?.("online", this.#wake);
    if (this.#outage) this.#probe = connection;
    connection.start();
  }

  /** While no connection can be made; `at` is null during an attempt. See galileo.d.ts. */
  get outage() {
    return this.#opened.size > 0 ? null : this.#outage;
  }

  /** Files that a question was about can be sent now: also by connections that have none. */
  #serve() {
    for (const connection of [...this.#connections]) connection.pump();
    this.fill();
  }

  /** Give back the files that have not begun. */
  hold() {
    for (const connection of [...this.#connections]) connection.hold();
  }

  /** The network is back: connections may be lost, and a server that was not reachable may be. */
  #wake = () => {
    for (const connection of this.#connections) connection.watch.doubt();
    if (this.#timer !== null) this.#tryAgain();
  };

  /** What a Connection sees of this. A failure is {code, error, cause}. */
  #host = {
    // The size of the next file for a connection, or null.
    peek: (connection) => this.#queue.peek(connection)?.size ?? null,
    // The Transfer of that file.
    take: (connection) => this.#queue.take(connection),
    // A Transfer that was taken has not begun.
    putBack: (transfer) => this.#queue.putBack(transfer),
    // The entries of a question; `transfer` is the one that has begun and may wait for the answer.
    ask: (connection, transfer) => this.#queue.ask(connection, transfer),
    // Whether an answer is waited for, on whatever connection.
    isAsking: () => this.#queue.isAsking?.() ?? false,
    // The server has those files of the question that have these indexes.
    answered: (connection, held) => {
      this.#queue.answered(connection, held);
      this.#serve();
    },
    // A question, if there is one, gets no answer; `isRefused`: since the server refuses it.
    unanswered: (connection, isRefused) => {
      if (this.#queue.unanswered?.(connection, isRefused)) queueMicrotask(() => this.#serve());
    },
    patience: () => this.#patience,
    wasConnected: () => this.#everOpened,
    opened: (connection) => {
      this.#everOpened = true;
      this.#opened.add(connection);
      // While another failure is waited for, it stays: a server may accept connections and lose them.
      if (this.#timer === null) this.#endOutage();
      this.fill();
    },
    // The server has answered a file, or has more of one than before.
    gotThrough: () => {
      this.#failures = 0;
    },
    // A Transfer has stopped after Connection's `leave`.
    left: (transfer) => this.#queue.left(transfer),
    // One that has begun ends without an answer, or was refused for now.
    lost: (transfer, failure) => this.#lost(transfer, failure),
    // The connection sends no more files; `failure` is null unless it ended by one.
    ended: (connection, failure) => this.#ended(connection, failure),
  };

  /** A file has lost its connection, or was refused for now. */
  #lost(transfer, failure) {
    if (!failure.isAway && !AWAY.has(failure.code)) transfer.losses += 1;
    const most = Math.min(this.#retries, MAX_LOSSES);
    const goesOn = failure.goesOn || GOES_ON.has(failure.code);
    if (goesOn && transfer.mayGoOn && transfer.losses <= most) {
      transfer.interrupt(failure);
      this.#queue.interrupted(transfer);
    } else transfer.failWith(failure);
  }

  #ended(connection, failure) {
    this.#connections.delete(connection);
    const wasOpened = this.#opened.delete(connection);
    if (this.#probe === connection) this.#probe = null;
    if (failure?.code === "timeout" && wasOpened && !connection.watch.gotOn) {
      // The server may be slow, and not gone.
      this.#patience = Math.min(this.#patience * 2, connection.timeout);
    } else if (failure && !wasOpened) this.#patience = PATIENCE;
    if (failure && this.#probe === null) this.#wait(failure); // else the probe tells what is next
    // Later: the file whose answer has ended the connection is still to be told.
    queueMicrotask(() => this.fill());
  }

  get #retries() {
    return this.#settings.retries ?? (this.#everOpened ? RETRIES : FIRST_RETRIES);
  }

  /** Wait before the next attempt. Several connections that are lost at once are one failure. */
  #wait(failure) {
    if (this.#timer !== null) return;
    this.#failures += 1;
    if (this.#opened.size === 0 && this.#failures > this.#retries) {
      this.#endOutage();
      this.#failures = 0;
      this.#queue.giveUp(failure);
      return;
    }
    const ms = retryWait(this.#failures, this.#random());
    const error = { code: failure.code, reason: failure.error };
    const at = performance.now() + ms;
    this.#outage = { attempt: this.#failures, at, error, wasConnected: this.#everOpened };
    this.#timer = setTimeout(() => this.#tryAgain(), ms);
    // Later: files that the failure concerns are told first, and none may be left.
    queueMicrotask(() => {
      if (this.#timer === null || this.#queue.peek() === null) return;
      callHandler(this.#settings.onretry, { attempt: this.#failures, seconds: ms / 1000, error });
    });
  }

  #tryAgain() {
    clearTimeout(this.#timer);
    this.#timer = null;
    this.#outage.at = null;
    if (this.#queue.peek() === null) this.#endOutage();
    this.fill();
  }

  #endOutage() {
    clearTimeout(this.#timer);
    this.#timer = null;
    this.#probe = null;
    this.#outage = null;
  }
}
