// The list of the uploads, one row for each. The elements stay in the order in which files were
// added; CSS displays them in the order of their places (page_order.js).

import { firstOf } from "./page_order.js";
import { Row } from "./page_row.js";

const SHOWN = 200; // rows displayed: the layout of ten thousand takes all of the browser's time
const ROWS_AT_ONCE = 500; // made before the browser handles other events
const CALM = 2_000; // ms between two changes of the order, and after the user points at the list

/** `handlers(upload)` gives the handlers of its row. */
export class List {
  #element;
  #template;
  #handlers;
  #rows = new Map(); // upload → Row
  #unmade = new Set(); // uploads that have no row yet
  #changed = new Set();
  #isWhole = false;
  #ordering = null; // a timer
  #calmUntil = 0;

  constructor(element, template, handlers) {
    this.#element = element;
    this.#template = template;
    this.#handlers = handlers;
    // No row moves away below a pointer, or while keys are used in the list.
    for (const event of ["pointerdown", "pointermove", "keydown"]) {
      element.addEventListener(event, () => this.#keepCalm());
    }
  }

  /** Make rows for `uploads`, some at a time: ten thousand at once would freeze the page. */
  add(uploads) {
    const isBusy = this.#unmade.size > 0;
    for (const each of uploads) this.#unmade.add(each);
    if (!isBusy) this.#make();
  }

  remove(uploads) {
    for (const each of uploads) {
      this.#unmade.delete(each);
      this.#rows.get(each)?.element.remove();
      this.#rows.delete(each);
    }
    this.#order();
  }

  /** `upload` has changed; `paint` shows it. */
  note(upload) {
    this.#changed.add(upload);
  }

  paint() {
    const now = performance.now();
    for (const each of this.#changed) this.#rows.get(each)?.paint(now);
    this.#changed.clear();
    this.#ordering ??= setTimeout(this.#orderSoon, this.#calmUntil - now);
  }

  /** Display all rows. */
  showAll() {
    this.#isWhole = true;
    this.#element.classList.add("all");
    this.#order();
  }

  /** How many uploads are not displayed. */
  get unseen() {
    return this.#isWhole ? 0 : Math.max(0, this.#rows.size + this.#unmade.size - SHOWN);
  }

  #make() {
    const fragment = document.createDocumentFragment();
    for (const upload of [...this.#unmade].slice(0, ROWS_AT_ONCE)) {
      const row = new Row(this.#template, upload, this.#handlers(upload));
      row.isShown = this.#isWhole || this.#rows.size < SHOWN;
      this.#rows.set(upload, row);
      this.#unmade.delete(upload);
      fragment.append(row.element);
    }
    this.#element.append(fragment);
    if (this.#unmade.size > 0) setTimeout(() => this.#make());
  }

  #keepCalm() {
    this.#calmUntil = performance.now() + CALM;
  }

  #orderSoon = () => {
    const wait = this.#calmUntil - performance.now();
    this.#ordering = wait > 0 ? setTimeout(this.#orderSoon, wait) : null;
    if (wait <= 0) this.#order();
  };

  #order() {
    const now = performance.now();
    const rows = [...this.#rows.values()];
    for (const row of rows) row.arrange(now);
    const shown = this.#isWhole ? new Set(rows) : firstOf(rows, SHOWN);
    const focused = document.activeElement?.closest(".upload");
    for (const row of rows) row.isShown = shown.has(row) || row.element === focused;
    this.#keepCalm();
  }
}
