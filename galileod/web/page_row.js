// One upload in the list: an element made from the template, updated as the upload changes.

import { hasEnded, mayRetry } from "./page_queue.js";
import { sizeText, statusText } from "./page_words.js";

/** The row of an upload. Names are set as text, never as HTML: they are not trusted. */
export class Row {
  element;
  #upload;
  #parts;

  constructor(template, upload, { oncancel, onretry }) {
    this.element = template.content.firstElementChild.cloneNode(true);
    this.#upload = upload;
    const part = (selector) => this.element.querySelector(selector);
    const name = part(".name");
    const cancel = part(".cancel");
    const retry = part(".retry");
    this.#parts = { name, cancel, retry, bar: part("progress"), status: part(".status") };
    name.textContent = upload.name;
    name.title = upload.file.webkitRelativePath;
    part(".size").textContent = sizeText(upload.size);
    this.#parts.bar.setAttribute("aria-label", `Progress of ${upload.name}`);
    cancel.setAttribute("aria-label", `Cancel ${upload.name}`);
    retry.setAttribute("aria-label", `Retry ${upload.name}`);
    cancel.onclick = oncancel;
    retry.onclick = onretry;
    this.paint();
  }

  /** Show the current state. */
  paint() {
    const { name, cancel, retry, bar, status } = this.#parts;
    const upload = this.#upload;
    const held = this.element.contains(document.activeElement);
    bar.value = upload.size > 0 ? upload.sent / upload.size : Number(upload.state === "stored");
    status.textContent = statusText(upload);
    if (this.element.dataset.state === upload.state) return;
    this.element.dataset.state = upload.state;
    cancel.hidden = hasEnded(upload);
    retry.hidden = !mayRetry(upload);
    if (!held) return;
    // The focused button may be hidden now; keep the keyboard focus in this row.
    const button = [cancel, retry].find((each) => !each.hidden);
    (button ?? name).focus();
  }
}
