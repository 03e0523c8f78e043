// One file of `uploadAll`, as its page sees it.

/** One file of `uploadAll`. All fields are for the page to read; galileo.d.ts describes them. */
class FileUpload {
  state = "waiting";
  sent = 0;
  rate = 0;
  receipt = null;
  error = null;
  mayBeStored = false;
  #uploads;

  constructor(uploads, { file, name, folder, size }) {
    this.#uploads = uploads;
    this.file = file;
    this.name = name;
    this.folder = folder;
    this.size = size;
  }

  abort() {
    this.#uploads.abort([this]);
  }

  pause() {
    this.#uploads.pause([this]);
  }

  resume() {
    this.#uploads.resume([this]);
  }
}

const ENDS = new Set(["stored", "skipped", "replaced", "failed", "cancelled"]);
const isWaiting = ({ state }) => state === "waiting" || state === "interrupted";
