// The uploads together: how many are stored, how far all are, and what can be done with all.

import { percentText } from "./page_units.js";
import { amountText, countText, lossText, outageText } from "./page_words.js";

const byId = (id) => document.getElementById(id);
const title = document.title;

/**
 * `on` has the handlers of the buttons, `retry`, `clear`, `pause`, `resume` and `cancel`, and
 * `outage(text)` for the begin of an outage.
 */
export class Summary {
  #queue;
  #on;
  #isOut = false;

  constructor(queue, on) {
    this.#queue = queue;
    this.#on = on;
    byId("retry-all").onclick = on.retry;
    byId("clear").onclick = on.clear;
    byId("pause-all").onclick = on.pause;
    byId("resume-all").onclick = on.resume;
    byId("cancel-all").onclick = on.cancel;
  }

  /** Show the current state. */
  paint() {
    const { active, count, outage, progress, uploads } = this.#queue;
    const isPaused = count.paused > 0 && count.mayPause + count.checking === 0;
    byId("count").textContent = countText(uploads.length, count);
    byId("amount").textContent = amountText(progress, { active, isPaused, outage });
    byId("overall").value = progress.ratio;
    this.#showOutage(outage);
    show({
      summary: uploads.length > 0,
      overall: active,
      "retry-all": count.mayRetry > 0,
      clear: count.mayClear > 0,
      "pause-all": count.mayPause > 0,
      "resume-all": count.paused > 0 && count.mayPause === 0,
      "cancel-all": active,
    });
    const state = outage ? lossText(outage) : isPaused ? "Paused" : percentText(progress.ratio);
    document.title = active ? `${state} · ${title}` : title;
    // Only while uploads run: with such a handler browsers do not cache the page for Back.
    const listen = active ? addEventListener : removeEventListener;
    listen("beforeunload", confirmLeave);
  }

  #showOutage(outage) {
    byId("outage").hidden = outage === null;
    if (outage) byId("outage").textContent = outageText(outage, performance.now());
    if (outage && !this.#isOut) this.#on.outage(`${lossText(outage)}. The uploads continue by themselves.`);
    this.#isOut = outage !== null;
  }
}

const OPPOSITES = { "pause-all": "resume-all", "resume-all": "pause-all" };

/** Show or hide the elements with these ids. The keyboard focus does not get lost. */
function show(elements) {
  const focused = document.activeElement;
  for (const [id, visible] of Object.entries(elements)) byId(id).hidden = !visible;
  if (!focused?.closest("#summary") || !focused.closest("[hidden]")) return;
  const opposite = OPPOSITES[focused.id];
  const next = elements[opposite] ? opposite : elements.summary ? "total" : "files";
  byId(next).focus();
}

function confirmLeave(event) {
  event.preventDefault(); // the browser asks whether to leave
  event.returnValue = true; // the same for older browsers
}
