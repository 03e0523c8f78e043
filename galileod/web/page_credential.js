// The credential of the uploads: a token that is typed in, or a token or ticket in the fragment of
// the page's URL. It is kept in memory and nowhere else.

const FRAGMENT = /^#(?:token|ticket)=(.+)$/;

/** The credential in a fragment (`#ticket=…`), or null. */
export function fromFragment(fragment) {
  const found = FRAGMENT.exec(fragment);
  if (!found) return null;
  try {
    return decodeURIComponent(found[1]).trim() || null;
  } catch {
    return found[1]; // an invalid escape such as a lone %: the server decides
  }
}

const NEEDED_TOKEN = "The files are sent once a token is given.";
const REFUSED_TOKEN = "The server did not accept this token. It may have expired.";
const REFUSED_TICKET =
  "The server did not accept the link. It may have expired. Open this page from the application again.";

/**
 * The credential, and the form that asks for it. `auth` has the kinds that the server accepts; with
 * "none", it asks for nothing. If tokens are not accepted, it has no input, but says where the page
 * is opened from. `onchange` is called when there is a new credential. A credential in the URL is
 * removed from the address bar, and so from the browser's history.
 */
export class Credential {
  value = null;
  #form;
  #onchange;
  #typed;

  constructor(form, { auth, onchange }) {
    this.#form = form;
    this.#onchange = onchange;
    this.#typed = auth.includes("token");
    if (auth.includes("none")) return;
    if (!this.#typed) this.#input.closest(".typed").remove();
    form.querySelector(".linked").hidden = this.#typed;
    form.onsubmit = (event) => {
      event.preventDefault();
      this.#set(this.#input.value.trim());
    };
    addEventListener("hashchange", () => this.#readFragment());
    this.#readFragment();
    form.hidden = this.value !== null;
  }

  /** The server refused `value`: ask for another credential, unless there is a new one already. */
  refused(value) {
    if (this.value === null || value !== this.value) return; // several uploads are refused at once
    this.value = null;
    this.#form.hidden = false;
    this.#hint.textContent = this.#typed ? REFUSED_TOKEN : REFUSED_TICKET;
    this.#input?.focus();
  }

  /** Files wait for a credential: say so, unless there is a reason there already. */
  need() {
    this.#hint.textContent ||= this.#typed ? NEEDED_TOKEN : "";
    this.#input?.focus();
  }

  get #input() {
    return this.#form.querySelector("input");
  }

  get #hint() {
    return this.#form.querySelector("[role=status]");
  }

  #readFragment() {
    const found = fromFragment(location.hash);
    if (found === null) return;
    history.replaceState(null, "", location.pathname + location.search);
    this.#set(found);
  }

  #set(value) {
    if (!value) return;
    this.value = value;
    if (this.#input) this.#input.value = "";
    this.#hint.textContent = "";
    this.#form.hidden = true;
    this.#onchange();
  }
}
