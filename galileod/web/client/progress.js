// Progress events: bytes that have left the browser, and their rate over the last samples.

const RATE_SAMPLES = 15; // at one each TICK: three seconds

class Progress {
  #size;
  #samples; // {at, sent}, oldest first; at most RATE_SAMPLES + 1

  constructor(size, now) {
    this.#size = size;
    this.#samples = [{ at: now, sent: 0 }];
  }

  /** The upload continues at `sent` bytes. */
  restart(sent, now) {
    this.#samples = [{ at: now, sent }];
  }

  /** The event for `sent` bytes at the time `now` (ms); `stored`: the upload has succeeded. */
  sample(sent, now, stored) {
    const last = this.#samples[this.#samples.length - 1].sent;
    const size = this.#size;
    const gone = stored ? size : Math.max(last, sent); // it never goes back
    this.#samples.push({ at: now, sent: gone });
    if (this.#samples.length > RATE_SAMPLES + 1) this.#samples.shift();
    const [first] = this.#samples;
    const rate = now > first.at ? ((gone - first.sent) * 1000) / (now - first.at) : 0;
    return { sent: gone, size, ratio: size > 0 ? gone / size : Number(stored), rate };
  }
}

/** Report what has left the browser of each Transfer of a connection, in the order in which they began. */
function sampleAll(transfers, buffered) {
  let left = buffered; // the end of what was sent
  for (const transfer of transfers.reverse()) {
    if (transfer.isOver) continue;
    const { sent } = transfer.sender;
    transfer.sample(sent - Math.min(sent, left));
    left -= Math.min(sent, left);
  }
}
