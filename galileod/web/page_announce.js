// What a screen reader says of the uploads.

import { hasEnded } from "./page_states.js";
import { endText } from "./page_words.js";

const COLLECT = 1_000; // ms for which results are collected for one announcement

export class Announcer {
  #element;
  #ended = new Set(); // uploads that are not announced yet
  #timer = null;

  constructor(element) {
    this.#element = element;
  }

  /** `upload` has changed: its end is announced, together with others. */
  note(upload) {
    if (!hasEnded(upload)) return;
    this.#ended.add(upload);
    this.#timer ??= setTimeout(() => this.#announce(), COLLECT);
  }

  say(text) {
    this.#element.textContent = text;
  }

  #announce() {
    this.#timer = null;
    const results = [...this.#ended].filter(hasEnded); // some may have been retried
    this.#ended.clear();
    if (results.length > 0) this.say(endText(results));
  }
}
