// One upload in the list: an element made from the template, updated as the upload changes.

import { placeOf } from "./page_order.js";
import { hasEnded, mayPause, mayRetry } from "./page_states.js";
import { folderText, sizeText } from "./page_units.js";
import { statusText } from "./page_words.js";

/** The row of an upload. Names are set as text, never as HTML: they are not trusted. */
export class Row {
  element;
  #upload;
  #parts;
  #begun = null; // when the upload was seen to be begun

  /** `on` has the handlers of the buttons: `pause`, `resume`, `retry` and `cancel`. */
  constructor(template, upload, on) {
    this.element = template.content.firstElementChild.cloneNode(true);
    this.#upload = upload;
    const part = (selector) => this.element.querySelector(selector);
    const name = part(".name");
    const folder = part(".folder");
    this.#parts = { name, folder, bar: part("progress"), status: part(".status"), buttons: {} };
    for (const button of this.element.querySelectorAll("button")) {
      const { name: what, textContent: verb } = button;
      this.#parts.buttons[what] = button;
      button.setAttribute("aria-label", `${verb} ${upload.name}`);
      button.onclick = on[what];
    }
    name.textContent = upload.name;
    part(".size").textContent = sizeText(upload.size);
    this.#parts.bar.setAttribute("aria-label", `Progress of ${upload.name}`);
    const now = performance.now();
    this.paint(now);
    this.arrange(now);
  }

  /** Show the current state, at the time `now`. */
  paint(now) {
    const { name, folder, bar, status, buttons } = this.#parts;
    const upload = this.#upload;
    const { state } = upload;
    bar.value = upload.size > 0 ? upload.sent / upload.size : Number(state === "stored");
    status.textContent = statusText(upload);
    if (this.element.dataset.state === state) return;
    showFolder(folder, upload.folder); // that of an earlier page is known once the file is begun
    if (hasEnded(upload) || (state === "waiting" && upload.sent === 0)) this.#begun = null;
    else this.#begun ??= now;
    this.element.dataset.state = state;
    const focused = document.activeElement;
    buttons.pause.hidden = !mayPause(upload);
    buttons.resume.hidden = state !== "paused";
    buttons.retry.hidden = !mayRetry(upload);
    buttons.cancel.hidden = hasEnded(upload);
    if (!focused?.hidden || !this.element.contains(focused)) return;
    // Keep the keyboard focus in this row.
    const button = Object.values(buttons).find((each) => !each.hidden);
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

/** Show the folder that a file is from in the element for it; there may be none. */
export function showFolder(element, folder) {
  element.hidden = folder === "";
  element.title = folder;
  element.firstElementChild.textContent = folderText(folder);
}
