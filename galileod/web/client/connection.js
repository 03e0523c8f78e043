// One connection to the server: sends the files that it takes from a queue, one after the other
// where the server agrees to that, else one.

class Connection {
  watch = new Watch();
  #settings;
  #host;
  #line;
  #socket = null;
  #isOpened = false;
  #isOver = false;
  #transfers = new Map(); // by number: those that have begun and have no answer
  #claims;
  #refusal = null; // {code, error}: the server takes nothing now, and no further file begins
  #leaving = null; // a Transfer that is to stop, as soon as the others are answered

  /**
   * `settings`: `url`, `timeout`; `can`: the extensions to offer; `restarts`: whether a file may be
   * sent again by a new connection although the server cannot resume it. `host` is that of the Pool,
   * which has the Transfers to send.
   */
  constructor(settings, host) {
    this.#settings = settings;
    this.#host = host;
    this.#claims = new Claims(this, host, settings.can.includes("next"));
    this.#line = new Line(settings.can);
  }

  /** Whether the server can be asked which files it has: then it is, before they are sent. */
  get asks() {
    return this.#line.asks;
  }

  get timeout() {
    return this.#settings.timeout;
  }

  /** Connect, with the next file of the queue. No handler is called before this returns. */
  start() {
    const { url } = this.#settings;
    try {
      this.#connect(webSocketURL(url));
      this.#claims.takeFirst();
    } catch (error) {
      const reason = `Cannot connect to ${url}: ${error.message}`;
      this.#claims.takeFirst();
      queueMicrotask(() => {
        this.#claims.shift()?.fail("connection_failed", reason, error); // for ever
        this.#end(null);
      });
    }
  }

  #connect(url) {
    this.#socket = new Socket(url, {
      onopen: () => {
        this.#isOpened = true;
        this.watch.activity();
        this.#host.opened(this);
        this.pump();
      },
      onmessage: (data) => this.#receive(data),
      onping: () => this.watch.activity(),
      onerror: () => {
        if (this.#isOpened) {
          this.#lose("connection_lost", "The connection to the server was lost.");
        } else {
          this.#lose("connection_failed", unreachableText(this.#socket.url, this.#host.wasConnected()));
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

  #receive(data) {
    this.watch.heard();
    const event = this.#line.receive(data);
    if (event.type === "violation") {
      this.#lose(event.code, event.error);
      return;
    }
    const { number, signal } = event;
    const transfer = this.#transfers.get(number);
    if (event.type === "ready" && this.#isOld(transfer)) return;
    switch (event.type) {
      case "resume":
        if (transfer.resume(event)) this.#host.gotThrough();
        break;
      case "held":
        this.#host.answered(this, event.held);
        break;
      case "error":
        transfer.warn(signal);
        break;
      case "stored":
        this.#answered(number);
        transfer.succeed(event);
        break;
      case "over":
        this.#answered(number);
        break;
      case "fatal":
        if (transfer) this.#refused(number, signal, event.ends);
    }
    // Where one file ends the connection, its answer to `abandon` does so too.
    if (event.ends && event.type === "over" && this.#line.isIdle) this.#end(null);
    else if (event.ends) this.#endByError(signal);
    else this.pump();
  }

  /**
   * Whether the server cannot resume an upload that was begun with one that can: one of two
   * versions behind a balancer. The connection has ended then; after some, the file begins anew.
   */
  #isOld(transfer) {
    if (this.#line.resumable || !transfer.isResumable) return false;
    if (!transfer.meetsOld()) return transfer.isOver;
    this.#lose("connection_lost", "The server cannot resume the upload.");
    return true;
  }

  /** The server has refused a file: for now, or for ever. */
  #refused(number, signal, ends) {
    const transfer = this.#transfers.get(number);
    const { code } = signal;
    const isOwn = code === "taken_over" && transfer.wasSilent();
    const isRenewed = code === "unauthorized" && transfer.renewToken(signal);
    const isForNow = this.#line.resumable && (isOwn || GOES_ON.has(code));
    this.#answered(number, !isForNow && !isRenewed);
    if (isRenewed) {
      this.#host.putBack(transfer);
      return;
    }
    if (!isForNow) {
      transfer.refuse(signal);
      return;
    }
    const failure = { code, error: signal.error, signal, goesOn: true };
    this.#refusal ??= failure;
    this.#host.lost(transfer, failure);
    if (!ends) this.#claims.putBack();
  }

  #answered(number, isProgress = true) {
    const transfer = this.#transfers.get(number); // none if it begins anew
    if (transfer && this.#line.senders[number].isFinished) this.watch.verify(-transfer.size);
    this.#transfers.delete(number);
    this.#line.answered(number);
    if (isProgress) this.#host.gotThrough();
  }

  /** Send all that is due. Called after each change of what may be due. */
  pump() {
    if (this.#isOver || !this.#isOpened || !this.#socket.isOpen) return;
    while (!this.#ask() && this.#sendCurrent() && this.#beginNext());
    if (this.#isOver) return; // a handler has ended it
    this.#claim();
    this.#ask(); // behind the last file
    const { first } = this.#claims; // it may be one for which the limits of the server have no room
    const isNext = (first && this.#line.mayBegin(first.size)) || this.#mayCome;
    const isIdle = this.#line.isIdle && !isNext;
    const isLeaving = this.#current === this.#leaving && !this.#leaving.isOver; // without an answer
    if (isIdle || (isLeaving && this.#transfers.size === 1)) this.#end(this.#refusal);
  }

  /** Whether files may come to be sent here, since a question has no answer yet. */
  get #mayCome() {
    return this.asks && this.#takesMore && this.#host.isAsking();
  }

  /** Ask which files the server has, where that is due. Returns whether to wait for the answer. */
  #ask() {
    const { isAsking, mayAsk, isUntouched } = this.#line;
    if (isAsking || !mayAsk || !this.#takesMore) return isAsking;
    if (!isUntouched && this.#claims.size > 0) return false;
    const entries = this.#host.ask(this, isUntouched ? this.#current : undefined);
    if (entries.length === 0) return false;
    this.#socket.send(this.#line.ask(entries));
    this.watch.activity();
    return true;
  }

  get #current() {
    return this.#transfers.get(this.#line.senders.length - 1);
  }

  /** Send what is due of the file that began last; returns whether another one may begin. */
  #sendCurrent() {
    const transfer = this.#current;
    if (!transfer) return true;
    if (transfer === this.#leaving) return false;
    const { sender } = transfer;
    transfer.readAhead();
    for (let due = sender.due(); due !== null; due = sender.due()) {
      if (due === "chunk" && this.#socket.isFull) {
        this.#socket.retryLater(() => this.pump());
        return false;
      }
      // The first `finished`: from now on the server may be reading the file back.
      if (sender.state === "finishing") this.watch.verify(transfer.size);
      const message = sender.take();
      this.#socket.send(message);
      this.watch.sent(message);
      if (due === "chunk") {
        transfer.recycle(message);
        transfer.readAhead(); // the next slice is read while the page's handler runs
        transfer.chunkSent();
      }
    }
    return this.#line.isBetween;
  }

  get #takesMore() {
    return this.#line.takesMore && !this.#refusal && !this.#leaving;
  }

  /** Send the metadata of the next file, if it may begin; returns whether it has begun. */
  #beginNext() {
    if (this.#isOver || this.#refusal) return false;
    const next = this.#claims.first;
    if (!next || !this.#line.mayBegin(next.size)) return false;
    const isFirst = this.#line.senders.length === 0;
    const whole = this.#line.isWhole(next.size);
    if (whole && !next.isOpen) return false; // a file that cannot be read must not begin
    if (!next.prepare()) return false;
    this.#claims.shift();
    const can = isFirst ? this.#line.can : undefined;
    const hasKey = isFirst || this.#line.resumable;
    const metadata = next.begin({ can, hasKey }, { further: !isFirst, whole });
    this.#transfers.set(this.#line.begin(next.sender, next.size), next);
    if (whole && hasKey) next.isResumable = true; // agreed for the whole connection
    this.#socket.send(metadata);
    this.watch.activity();
    return true;
  }

  /** Take the next files, so that they are read while the one before is sent. */
  #claim() {
    if (!this.#takesMore) this.#claims.putBack();
    else if (this.#line.agreed) {
      const { isBetween } = this.#line;
      this.#claims.fill(this.#current && !isBetween ? this.#current.left : 0, isBetween);
    }
  }

  /** Give back the files that have not begun. */
  hold() {
    this.#claims.putBack();
    if (this.#line.isIdle) this.#end(null);
  }

  /** Stop sending a file, which the server keeps; returns false if all of it is sent. */
  leave(transfer) {
    if (this.#claims.remove(transfer)) {
      transfer.interrupt();
      this.#host.left(transfer);
      this.#goOn();
      return true;
    }
    if (transfer !== this.#current || transfer.sender.isFinished) return false;
    this.#leaving = transfer;
    this.#claims.putBack();
    this.pump();
    return true;
  }

  /** Go on with a file that was to stop, if it has not; returns whether it goes on. */
  stay(transfer) {
    if (this.#isOver || this.#leaving !== transfer) return false;
    this.#leaving = null;
    this.pump();
    return true;
  }

  /** A Transfer has ended by itself, by its answer, or by its page. */
  drop(transfer) {
    if (this.#isOver) return;
    this.#claims.remove(transfer);
    const { sender } = transfer;
    const number = this.#line.senders.indexOf(sender);
    const isWaiting = sender && number >= 0 && !sender.isFinished;
    // The server keeps what it has of a file only if the connection ends.
    if (isWaiting && transfer.isKept) this.#lose("connection_lost", "A file could not be read.");
    else if (!isWaiting || this.#abandon(number)) this.#goOn();
  }

  /** Whether the server learns here that a transfer has ended: it has begun, and can be abandoned. */
  tells({ sender }) {
    return !this.#isOver && sender !== null && this.#line.resumable;
  }

  /** The server has other bytes of the file than the file: it begins anew, with another key. */
  restart(transfer) {
    const { sender } = transfer;
    const number = this.#line.senders.indexOf(sender);
    sender.end();
    this.#transfers.delete(number);
    transfer.renew();
    this.#host.putBack(transfer);
    if (this.#abandon(number)) this.#goOn();
  }

  /** Abandon a file that is not finished. Returns whether the connection goes on. */
  #abandon(number) {
    const { agreed, resumable } = this.#line;
    const others = [...this.#transfers].some(([each, { isOver }]) => each !== number && !isOver);
    const isNeeded = agreed && (others || this.#claims.size > 0);
    // By the end of the connection alone the server would keep what it has.
    if (isNeeded || resumable) {
      this.#socket.send(JSON.stringify({ abandon: true, file: number || undefined }));
      return true;
    }
    this.#end(null);
    return false;
  }

  #goOn() {
    if (this.#isOpened || this.#isOver) this.pump();
    else if (this.#claims.size === 0 && !this.#claims.takeFirst()) this.#end(null);
  }

  #tick() {
    this.watch.tick(this.#socket.buffered);
    if (this.#current?.isSeeking || this.#claims.first?.isAuthorizing) this.watch.activity();
    if (this.#isOpened) sampleAll([...this.#transfers.values()], this.#socket.buffered);
    if (this.#isOver) return;
    this.#current?.note();
    const unread = this.#unread;
    // Whether little is lost if the connection is given up.
    const isCheap = !unread && (this.#isOpened ? this.#line.resumable : this.#settings.restarts);
    const seconds = this.watch.overdue(isCheap, this.#host.patience(), this.timeout);
    if (seconds === null) return;
    if (unread) {
      unread.failToRead("timeout", `No data could be read from "${unread.name}" for ${seconds} s.`);
    } else this.#lose("timeout", `${this.#awaited()} for ${seconds} s.`);
  }

  /** What did not happen, as the beginning of a sentence. */
  #awaited() {
    if (!this.#isOpened) return `The server at ${this.#socket.url} has not answered`;
    return this.#socket.buffered > 0 ? "No data could be sent" : "The server has been silent";
  }

  /** The file whose bytes are waited for, if nothing else is. */
  get #unread() {
    if (!this.#isOpened || this.#socket.buffered > 0) return undefined;
    if (this.#current) return this.#current.sender.hasPending ? this.#current : undefined;
    return this.#transfers.size === 0 ? this.#claims.first : undefined;
  }

  /** The server has ended the connection by an error. */
  #endByError(signal) {
    if (!GOES_ON.has(signal.code)) this.#host.unanswered(this, true); // it may be about the question
    // Where only the credential is wrong, there is nothing to wait for.
    const isRefused = signal.code === "unauthorized" && this.#transfers.size === 0;
    this.#end(isRefused ? null : failureBy(signal));
  }

  #lose(code, error, cause) {
    this.#end({ code, error, cause });
  }

  /**
   * Close the connection. Without a `failure` what has no answer, and was not left, is no more
   * wanted.
   */
  #end(failure) {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#socket?.close();
    this.#host.unanswered(this, false);
    const first = this.#isOpened ? null : this.#claims.shift();
    this.#claims.putBack();
    if (first && failure) this.#host.lost(first, { ...failure, isAway: true });
    else if (first) this.#host.putBack(first);
    const isAway = this.#line.hasProgress; // others were answered: it is hardly the file's fault
    for (const transfer of this.#transfers.values()) {
      if (transfer.isOver) continue;
      if (transfer === this.#leaving) {
        transfer.interrupt();
        this.#host.left(transfer);
      } else this.#host.lost(transfer, { ...this.#failureOf(transfer, failure), isAway });
    }
    this.#host.ended(this, failure);
    if (!this.#host.closed) return;
    if (this.#socket) this.#socket.whenClosed(() => this.#host.closed(this));
    else this.#host.closed(this);
  }

  /** A violation is the fault of the file that was being sent; the others have lost the connection. */
  #failureOf(transfer, failure) {
    if (GOES_ON.has(failure.code) || transfer === this.#current) return failure;
    return { code: "connection_lost", error: failure.error };
  }
}
