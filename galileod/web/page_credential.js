// The credential of the uploads: a token that is typed in, or a token or ticket in the fragment of
// the page's URL, behind which may be the path for another ticket. It is kept in memory and nowhere
// else.

import { fetchTicket, renewalOf } from "./page_renew.js";

const FRAGMENT = /^#(token|ticket)=(.+?)(?:&renew=(.*))?$/;

/** The credential and the path for another one in a fragment (`#ticket=…&renew=…`), or null. */
export function fromFragment(fragment) {
  const [, kind, value = "", renew = ""] = FRAGMENT.exec(fragment) ?? [];
  const isTicket = kind === "ticket";
  const found = { value: decoded(value).trim(), renew: decoded(renew), isTicket };
  return found.value ? found : null;
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // an invalid escape such as a lone %: the server decides
  }
}

const NEEDED_TOKEN = "The files are sent once a token is given.";
const REFUSED_TOKEN = "The server did not accept this token. It may have expired.";
const REFUSED_LINK =
  "The server did not accept the link. It may have expired. Open this page again from the application," +
  " in this tab: the files in the list are kept until then.";

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
  #isTicket = false; // whether the credential is a ticket, which is from the URL
  #renewal = null; // the URL for another one

  constructor(form, { auth, onchange }) {
    this.#form = form;
    this.#onchange = onchange;
    this.#typed = auth.includes("token");
    if (auth.includes("none")) return;
    if (!this.#typed) this.#input.closest(".typed").remove();
    form.querySelector(".linked").hidden = this.#typed;
    form.onsubmit = (event) => {
      event.preventDefault();
      this.#isTicket = false;
      this.#renewal = null;
      this.#set(this.#input.value.trim());
    };
    addEventListener("hashchange", () => this.#readFragment());
    this.#readFragment();
    form.hidden = this.value !== null;
  }

  /**
   * Another credential than `old`, which has expired or is refused: what was given meanwhile, or a
   * promise of what the application gives. Null if there is none.
   */
  renew(old) {
    if (this.value !== old) return this.value;
    return this.#renewal && this.#fetch(old);
  }

  async #fetch(old) {
    const ticket = await fetchTicket(this.#renewal);
    if (this.value !== old) return this.value; // given meanwhile
    if (ticket !== null) this.value = ticket;
    return ticket;
  }

  /** The server refused the credential, and there is no other one: ask for one. */
  refused() {
    if (this.value === null) return; // several uploads are refused at once
    this.value = null;
    this.#form.hidden = false;
    this.#hint.textContent = this.#isTicket || !this.#typed ? REFUSED_LINK : REFUSED_TOKEN;
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
    this.#isTicket = found.isTicket;
    this.#renewal = renewalOf(found.renew, location.href);
    if (found.renew && !this.#renewal) {
      console.warn(`renew=${found.renew} is not used: it must be a path of this origin, as /path.`);
    }
    this.#set(found.value);
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
