// One upload in the list: an element made from the template, updated as the upload changes.

import { placeOf } from "./page_order.js";
import { hasEnded, mayRetry } from "./page_queue.js";
import { folderText, sizeText, statusText } from "./page_words.js";

/** The row of an upload. Names are set as text, never as HTML: they are not trusted. */
export class Row {
  element;
  #upload;
  #parts;
  #begun = null; // when the upload was seen to be begun

  constructor(template, upload, { oncancel, onretry }) {
    this.element = template.content.firstElementChild.cloneNode(true);
    this.#upload = upload;
    const part = (selector) => this.element.querySelector(selector);
    const name = part(".name");
    const cancel = part(".cancel");
    const retry = part(".retry");
    this.#parts = { name, cancel, retry, bar: part("progress"), status: part(".status") };
    name.textContent = upload.name;
    part(".size").textContent = sizeText(upload.size);
    this.#showFolder(part(".folder"), upload.file.webkitRelativePath ?? "");
    this.#parts.bar.setAttribute("aria-label", `Progress of ${upload.name}`);
    cancel.setAttribute("aria-label", `Cancel ${upload.name}`);
    retry.setAttribute("aria-label", `Retry ${upload.name}`);
    cancel.onclick = oncancel;
    retry.onclick = onretry;
    const now = performance.now();
    this.paint(now);
    this.arrange(now);
  }

  #showFolder(element, path) {
    const end = path.lastIndexOf("/");
    element.hidden = end <= 0;
    if (element.hidden) return;
    element.title = path.slice(0, end);
    element.firstElementChild.textContent = folderText(element.title);
  }

  /** Show the current state, at the time `now`. */
  paint(now) {
    const { name, cancel, retry, bar, status } = this.#parts;
    const upload = this.#upload;
    const held = this.element.contains(document.activeElement);
    bar.value = upload.size > 0 ? upload.sent / upload.size : Number(upload.state === "stored");
    status.textContent = statusText(upload);
    if (this.element.dataset.state === upload.state) return;
    if (hasEnded(upload) || (upload.state === "waiting" && upload.sent === 0)) this.#begun = null;
    else this.#begun ??= now;
    this.element.dataset.state = upload.state;
    cancel.hidden = hasEnded(upload);
    retry.hidden = !mayRetry(upload);
    if (!held) return;
    // The focused button may be hidden now; keep the keyboard focus in this row.
    const button = [cancel, retry].find((each) => !each.hidden);
    (button ?? name).focus();
  }

  get place() {
    return this.element.dataset.place;
  }

  /** Give the row the place that belongs to its state. */
  arrange(now) {
    const place = placeOf(this.#upload, this.#begun, now);
    if (place !== this.place) this.element.dataset.place = place;
  }

  /** Whether the row is among those that are displayed. */
  set isShown(value) {
    if (this.element.hidden === value) this.element.hidden = !value;
  }
}
