// Notices that a connection is lost although nothing has said so.

// Bytes per ms. There is more time for as long as it takes to hash the files that are finished: some
// servers read the whole file back to verify the hash, and send nothing that a page could see.
const VERIFY_RATE = 20_000;
const DOUBTED = 3_000; // ms for a sign of the server after the network or the machine came back
const MAX_GAP = 5_000; // ms between two ticks of a machine that is awake, and of a tab that is shown
const SLOW_RATE = 20; // bytes per ms of a line that is slow and not lost
const GOT_ON = 1_000; // ms between the first message and the last one of a server that works

class Watch {
  #silence;
  #ticked; // when the last tick was
  #buffered = 0; // bytes that had not left the browser then
  #verifying = 0; // bytes of the files that the server may be verifying
  #firstHeard = null; // when the first message came
  #lastHeard = null;
  #longest = 0; // ms between two messages
  #sent = 0; // bytes

  constructor() {
    this.#ticked = performance.now();
    this.#silence = new Silence(this.#ticked);
  }

  /** Something was sent, received or read. */
  activity() {
    this.#silence.activity(performance.now());
  }

  /** A message was sent. */
  sent({ byteLength = 0 }) {
    this.activity();
    this.#sent += byteLength;
  }

  /** A message has come. */
  heard() {
    this.activity();
    const now = performance.now();
    this.#firstHeard ??= now;
    this.#longest = Math.max(this.#longest, now - (this.#lastHeard ?? now));
    this.#lastHeard = now;
  }

  /** Whether the server went on to answer after its first signals. */
  get gotOn() {
    return this.#lastHeard - this.#firstHeard >= GOT_ON;
  }

  /**
   * How long a slow line may be silent, in ms. The browser and the system take more than a megabyte
   * at once, and say nothing while it leaves; the server says something when it has a whole chunk.
   */
  get pace() {
    return this.gotOn ? 2 * this.#longest : this.#sent / SLOW_RATE;
  }

  /** The connection may be lost without a sign of it. */
  doubt() {
    this.#silence.doubt(performance.now());
  }

  /** The server may verify a file of so many bytes; a negative number: it has. */
  verify(bytes) {
    this.#verifying += bytes;
  }

  /** Called every TICK: `buffered` bytes have not left the browser. */
  tick(buffered) {
    const now = performance.now();
    if (buffered < this.#buffered) this.activity();
    else if (now - this.#ticked > MAX_GAP && !this.#silence.isDoubted) {
      this.doubt(); // the machine may have slept; in a hidden tab each tick is so late
    }
    this.#buffered = buffered;
    this.#ticked = now;
  }

  /**
   * ms of silence after which the connection is given up: `timeout`, or if that is cheap `patience`;
   * more while the server verifies files.
   */
  limit(isCheap, patience, timeout) {
    const enough = isCheap ? Math.min(Math.max(patience, this.pace), timeout) : timeout;
    return enough + this.#verifying / VERIFY_RATE;
  }

  /** The seconds for which nothing has happened if the connection is to be given up, else null. */
  overdue(isCheap, patience, timeout) {
    const limit = this.limit(isCheap, patience, timeout);
    return this.isSilent(limit, isCheap) ? Math.round(limit / 100) / 10 : null;
  }

  /** Whether nothing has happened for `limit` ms; `isCheap`: in doubt for less, since no harm is done. */
  isSilent(limit, isCheap) {
    const doubted = isCheap ? DOUBTED + this.#verifying / VERIFY_RATE : limit;
    return this.#silence.exceeded(performance.now(), limit, doubted);
  }
}
