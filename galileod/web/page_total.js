// The uploads together: how many are stored, how far all are, and what can be done with all.

import { amountText, countText } from "./page_words.js";

const byId = (id) => document.getElementById(id);
const title = document.title;

/** `on` has the handlers of the buttons: `retry`, `clear` and `cancel`. */
export class Summary {
  #queue;

  constructor(queue, on) {
    this.#queue = queue;
    byId("retry-all").onclick = on.retry;
    byId("clear").onclick = on.clear;
    byId("cancel-all").onclick = on.cancel;
  }

  /** Show the current state. */
  paint() {
    const { active, count, progress, uploads } = this.#queue;
    byId("count").textContent = countText(uploads.length, count);
    byId("amount").textContent = amountText(progress, active);
    byId("overall").value = progress.ratio;
    show(byId("overall"), active);
    show(byId("retry-all"), count.retriable > 0);
    show(byId("clear"), count.stored + count.cancelled > 0);
    show(byId("cancel-all"), active);
    show(byId("summary"), uploads.length > 0);
    document.title = active ? `${Math.floor(100 * progress.ratio)}% · ${title}` : title;
    // Only while uploads run: with such a handler browsers do not cache the page for Back.
    const listen = active ? addEventListener : removeEventListener;
    listen("beforeunload", confirmLeave);
  }
}

/** Show or hide `element`; the focus does not get lost. */
function show(element, visible) {
  if (!visible && element.contains(document.activeElement)) {
    byId(element.id === "summary" ? "files" : "total").focus();
  }
  element.hidden = !visible;
}

function confirmLeave(event) {
  event.preventDefault(); // the browser asks whether to leave
  event.returnValue = true; // the same for older browsers
}
