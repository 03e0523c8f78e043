// What proves who uploads: a token that is typed in, or a ticket that came behind the # of the page's
// address. It is kept in memory, and nowhere else.

const FRAGMENT = /^#(?:token|ticket)=(.+)$/;

/** The credential in a fragment (`#ticket=…`), or null. */
export function fromFragment(fragment) {
  const found = FRAGMENT.exec(fragment);
  if (!found) return null;
  try {
    return decodeURIComponent(found[1]).trim() || null;
  } catch {
    return found[1]; // a lone % is no escape; the server will say what it thinks of it
  }
}

/**
 * `form` asks for a credential where `needed`; `onchange` is called when there is a new one. The
 * address bar is rid of the one that it held: it would stay in the history.
 */
export class Proof {
  value = null;
  #form;
  #onchange;

  constructor(form, { needed, onchange }) {
    this.#form = form;
    this.#onchange = onchange;
    if (!needed) return;
    form.onsubmit = (event) => {
      event.preventDefault();
      this.#take(this.#input.value.trim());
    };
    addEventListener("hashchange", () => this.#look());
    this.#look();
    form.hidden = this.value !== null;
  }

  /** The server did not take `value`. */
  refused(value) {
    if (this.value === null || value !== this.value) return; // one of several that were on their way
    this.value = null;
    this.#form.hidden = false;
    this.#hint.textContent = "The server did not accept this token. It may have expired.";
    this.#input.focus();
  }

  get #input() {
    return this.#form.querySelector("input");
  }

  get #hint() {
    return this.#form.querySelector("[role=status]");
  }

  #look() {
    const found = fromFragment(location.hash);
    if (found === null) return;
    history.replaceState(null, "", location.pathname + location.search);
    this.#take(found);
  }

  #take(value) {
    if (!value) return;
    this.value = value;
    this.#input.value = "";
    this.#hint.textContent = "";
    this.#form.hidden = true;
    this.#onchange();
  }
}
