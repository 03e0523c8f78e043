// The totals of `uploadAll`, and how fast its files are sent.

class Tally {
  #sum = { sent: 0, size: 0, files: 0, filesEnded: 0 }; // without failed and cancelled files
  #gone = { bytes: 0, files: 0 }; // has left the browser, and was answered, failed files included
  #total = new Total(performance.now());

  /** What was measured before does not count any more: after a pause, or the end of all files. */
  reset() {
    this.#total.reset(performance.now());
  }

  /** A file counts from now on. */
  add(upload) {
    this.#count(upload, 1);
  }

  /** A file has failed, was cancelled, or is cleared: it counts no more. */
  remove(upload) {
    this.#count(upload, -1);
    if (upload.state === "stored") this.#sum.filesEnded -= 1;
  }

  #count({ size, sent }, sign) {
    this.#sum.files += sign;
    this.#sum.size += sign * size;
    this.#sum.sent += sign * sent;
  }

  /** `sent` bytes of a file have left the browser; `upload` still has the number before. */
  sent(upload, sent) {
    this.#gone.bytes += Math.max(0, sent - upload.sent); // less: it is sent again
    this.#sum.sent += sent - upload.sent;
    this.#measure();
  }

  /** A file continues at `sent` bytes, which are not sent now. */
  resumed(upload, sent) {
    this.#sum.sent += sent - upload.sent;
  }

  /** A file has an answer. */
  answered(isStored) {
    this.#gone.files += 1;
    if (isStored) this.#sum.filesEnded += 1;
  }

  #measure() {
    this.#total.sample(performance.now(), this.#gone.bytes, this.#gone.files);
  }

  /** The progress, as galileo.d.ts has it; `goesOn`: whether anything is sent now. */
  progress(goesOn) {
    const { sent, size, files, filesEnded } = this.#sum;
    this.#measure();
    const all = workOf(size, files);
    return {
      sent,
      size,
      ratio: all > 0 ? workOf(sent, filesEnded) / all : 1,
      rate: this.#total.rate,
      files,
      filesEnded,
      secondsLeft: goesOn ? this.#total.secondsLeft(size - sent, files - filesEnded) : null,
    };
  }
}
