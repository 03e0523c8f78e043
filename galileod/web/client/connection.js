// One connection to the server: sends the files that it takes from a queue, one after the other
// where the server agrees to that, else one.

// Bytes per ms. The timeout is extended by the time to hash a file at this rate: after `finished`
// some servers read the whole file back to verify the hash, and send nothing meanwhile.
const VERIFY_RATE = 20_000;
const MAX_CLAIMED = 64; // files that are read ahead of their turn; in bytes, READ_AHEAD

class Connection {
  #settings;
  #queue;
  #line;
  #silence;
  #socket = null;
  #isOpened = false;
  #isOver = false;
  #transfers = new Map(); // by number: those that have begun and have no answer
  #claimed = []; // taken from the queue, and not begun
  #buffered = 0; // as the last tick saw it

  /**
   * `settings`: `url`, `timeout`, `many`: whether to offer `next`. `queue` has the Transfers to
   * send: `peek()`, the size of the next one, or null; `take()`, that one; `putBack(transfer)`
   * for one that was released; `ended()` once this connection sends no more files, and optionally
   * `closed()` once it is closed.
   */
  constructor(settings, queue) {
    this.#settings = settings;
    this.#queue = queue;
    this.#line = new Line(settings.many);
    this.#silence = new Silence(settings.timeout, performance.now());
  }

  /** Connect, with the next file of the queue. No handler is called before this returns. */
  start() {
    const { url } = this.#settings;
    try {
      this.#connect(webSocketURL(url));
      this.#claimFirst();
    } catch (error) {
      const reason = `Cannot connect to ${url}: ${error.message}`;
      this.#claimed.push(this.#queue.take());
      queueMicrotask(() => this.#lose("connection_failed", reason, error));
    }
  }

  /** Take a file before the connection is open; returns false if there is none. */
  #claimFirst() {
    if (this.#queue.peek() === null) return false;
    const first = this.#queue.take();
    this.#claimed.push(first);
    first.open(this, this.#settings.many && first.size <= MAX_LOADED);
    return true;
  }

  #connect(url) {
    this.#socket = new Socket(url, {
      onopen: () => {
        this.#isOpened = true;
        this.activity();
        this.pump();
      },
      onmessage: (data) => this.#receive(data),
      onerror: () => {
        if (this.#isOpened) {
          this.#lose("connection_lost", "The connection to the server was lost.");
        } else {
          // Browsers do not tell a page which of the two it is.
          const reason = "cannot be reached, or does not accept uploads from this page";
          this.#lose("connection_failed", `The server at ${this.#socket.url} ${reason}.`);
        }
      },
      onclose: ({ code, reason }) => {
        const why = reason ? `${code}, ${reason}` : code;
        const error = `The connection was closed before the server confirmed the file (${why}).`;
        this.#lose("connection_lost", error);
      },
      ontick: () => this.#tick(),
    });
  }

  activity() {
    this.#silence.activity(performance.now());
  }

  #receive(data) {
    this.activity();
    const event = this.#line.receive(data);
    if (event.type === "violation") {
      this.#lose(event.code, event.error);
      return;
    }
    const { number, signal } = event;
    const transfer = this.#transfers.get(number);
    switch (event.type) {
      case "error":
        transfer.warn(signal);
        break;
      case "stored":
        this.#answered(number);
        transfer.succeed(event.name);
        break;
      case "over":
        this.#answered(number);
        break;
      case "fatal":
        if (transfer) this.#answered(number);
        transfer?.refuse(signal);
    }
    if (event.ends) this.#endByError(signal);
    else this.pump();
  }

  #answered(number) {
    const transfer = this.#transfers.get(number);
    this.#transfers.delete(number);
    this.#line.answered(number);
    if (transfer.sender.isFinished) this.#silence.extend(-transfer.size / VERIFY_RATE);
  }

  /** Send all that is due. Called after each change of what may be due. */
  pump() {
    if (this.#isOver || !this.#isOpened || !this.#socket.isOpen) return;
    while (this.#sendCurrent() && this.#beginNext());
    if (this.#isOver) return; // a handler has ended it
    this.#claim();
    if (this.#claimed.length === 0 && this.#line.isIdle) this.#end();
  }

  get #current() {
    return this.#transfers.get(this.#line.senders.length - 1);
  }

  /** Send what is due of the file that began last; returns whether another one may begin. */
  #sendCurrent() {
    const transfer = this.#current;
    if (!transfer) return true;
    const { sender } = transfer;
    transfer.readAhead();
    for (let due = sender.due(); due !== null; due = sender.due()) {
      if (due === "chunk" && this.#socket.isFull) {
        this.#socket.retryLater(() => this.pump());
        return false;
      }
      // The first `finished`: from now on the server may be reading the file back.
      if (sender.state === "finishing") this.#silence.extend(transfer.size / VERIFY_RATE);
      const message = sender.take();
      this.#socket.send(message);
      this.activity();
      if (due === "chunk") {
        transfer.recycle(message);
        transfer.readAhead(); // the next slice is read while the page's handler runs
        transfer.chunkSent();
      }
    }
    return this.#line.isBetween;
  }

  /** Send the metadata of the next file, if it may begin; returns whether it has begun. */
  #beginNext() {
    if (this.#isOver) return false;
    const [next] = this.#claimed;
    if (!next || !this.#line.mayBegin(next.size)) return false;
    const isFirst = this.#line.senders.length === 0;
    const whole = this.#line.isWhole(next.size);
    if (whole && !next.isOpen) return false; // a file that cannot be read must not begin
    this.#claimed.shift();
    const metadata = next.begin(isFirst ? this.#line.can : undefined, { further: !isFirst, whole });
    this.#transfers.set(this.#line.begin(next.sender, next.size), next);
    this.#socket.send(metadata);
    this.activity();
    return true;
  }

  /** Take the next files, so that they are read while the one before is sent. */
  #claim() {
    if (!this.#line.takesMore) this.#putBackClaimed();
    if (!this.#line.agreed || !this.#line.takesMore) return;
    const left = this.#current && !this.#line.isBetween ? this.#current.left : 0;
    let bytes = this.#claimed.reduce((sum, { size }) => sum + size, left);
    while (this.#claimed.length < MAX_CLAIMED) {
      const size = this.#queue.peek();
      if (size === null) return;
      // A large one is left to the connection that can begin it first.
      if (bytes + size > READ_AHEAD && (bytes > 0 || !this.#line.isBetween)) return;
      const transfer = this.#queue.take();
      this.#claimed.push(transfer);
      bytes += size;
      transfer.open(this, size <= MAX_LOADED);
    }
  }

  /** Give back the files that have not begun. */
  pause() {
    this.#putBackClaimed();
    if (this.#line.isIdle) this.#end();
  }

  /** A Transfer has ended by itself, by its answer, or by its page. */
  drop(transfer) {
    if (this.#isOver) return;
    this.#claimed = this.#claimed.filter((each) => each !== transfer);
    const { sender } = transfer;
    const number = this.#line.senders.indexOf(sender);
    const isWaiting = sender !== null && number >= 0 && !sender.isFinished;
    if (isWaiting) {
      const others = [...this.#transfers.values()].some((each) => !each.isOver);
      if (!this.#line.agreed || (!others && this.#claimed.length === 0)) {
        this.#end();
        return;
      }
      this.#socket.send(JSON.stringify({ abandon: true, file: number || undefined }));
    }
    if (this.#isOpened) this.pump();
    else if (this.#claimed.length === 0 && !this.#claimFirst()) this.#end();
  }

  #tick() {
    const { buffered } = this.#socket;
    if (buffered < this.#buffered) this.activity();
    this.#buffered = buffered;
    if (this.#isOpened) this.#reportProgress();
    if (this.#isOver || !this.#silence.exceeded(performance.now())) return;
    const seconds = Math.round(this.#silence.limit / 100) / 10;
    this.#lose("timeout", `${this.#awaited()} for ${seconds} s.`);
  }

  /** What has left the browser of each file: what has not is the end of what was sent. */
  #reportProgress() {
    let { buffered } = this.#socket;
    for (const transfer of [...this.#transfers.values()].reverse()) {
      const { sent } = transfer.sender;
      if (!transfer.isOver) transfer.sample(sent - Math.min(sent, buffered));
      buffered -= Math.min(sent, buffered);
    }
  }

  /** What did not happen, as the beginning of a sentence. */
  #awaited() {
    if (!this.#isOpened) return `The server at ${this.#socket.url} has not answered`;
    if (this.#buffered > 0) return "No data could be sent";
    const current = this.#current?.sender.hasPending ? this.#current : this.#unread;
    if (current) return `No data could be read from "${current.name}"`;
    return "The server has been silent";
  }

  /** The file whose bytes are waited for before it can begin, if nothing else is. */
  get #unread() {
    return this.#transfers.size === 0 && this.#isOpened ? this.#claimed[0] : undefined;
  }

  /** The server has ended the connection by an error about one file, or about none. */
  #endByError(signal) {
    this.#end((transfer) => {
      const reason = typeof signal.error === "string" ? signal.error : JSON.stringify(signal.error);
      const error = `The server ended the connection: ${reason}.`;
      transfer.fail("connection_lost", error + transfer.mayBeStoredText("It"));
    });
  }

  #lose(code, error, cause) {
    const isSilent = code === "timeout";
    const isFirst = !this.#isOpened || (isSilent && this.#unread);
    if (isFirst) this.#claimed.shift()?.fail(code, error, cause);
    this.#end((transfer) => {
      const more = isSilent ? transfer.mayBeStoredText("It") : "";
      transfer.fail(code, error + more, cause);
    }, !isSilent);
  }

  /**
   * Close the connection. A file that was not finished is sent again on another one, if this one
   * has stored or refused a file; the others are passed to `fail`.
   */
  #end(fail, again = true) {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#socket?.close();
    this.#putBackClaimed();
    for (const transfer of this.#transfers.values()) {
      if (transfer.isOver) continue;
      const isSafe = again && this.#line.hasProgress && !transfer.sender.isFinished;
      if (isSafe) this.#putBack(transfer);
      else fail(transfer);
    }
    this.#queue.ended(this);
    if (!this.#queue.closed) return;
    if (this.#socket) this.#socket.whenClosed(() => this.#queue.closed());
    else this.#queue.closed();
  }

  #putBackClaimed() {
    for (const transfer of this.#claimed.splice(0).reverse()) this.#putBack(transfer);
  }

  #putBack(transfer) {
    transfer.release();
    this.#queue.putBack(transfer);
  }
}
