// The credentials of uploads: a string for all files, or a function of the page that is asked.

const TOKEN_ATTEMPTS = 5; // promises of a function that may be rejected in a row: 4 to 8 s
const EARLY = 30_000; // ms before a ticket expires at which another one is asked for

const sources = new WeakMap(); // function → Tokens: files with the same function share its answers

/** The Tokens for the option `token`. */
function tokensOf(token) {
  if (typeof token !== "function") return new Tokens(() => token, false);
  if (!sources.has(token)) sources.set(token, new Tokens(token, true));
  return sources.get(token);
}

class Tokens {
  isShared = false; // whether one token is for all files: what a promise of the function gave
  #give;
  #isAsked;
  #kept = null; // {token}: that one
  #next = new WeakMap(); // file → the token to send for it next
  #renewed = null; // {old, token}: what was given in place of one that the function still gives
  #asking = null; // a promise, while one of the function is waited for
  #early; // the token that expires soon, and in place of which another one was asked for

  /** `give(file, old)` returns a token or a promise of one; `isAsked`: it may give another one. */
  constructor(give, isAsked) {
    this.#give = give;
    this.#isAsked = isAsked;
  }

  /**
   * The token for a file, undefined for none. Or a promise, if it is waited for: this is called again
   * when it is resolved; it is rejected if there is no token.
   */
  take(file) {
    if (this.#asking) return this.#asking;
    if (this.#next.has(file)) return this.#takeNext(file);
    const given = this.#kept ? this.#kept.token : this.#call(file);
    if (given instanceof Promise) {
      this.isShared = true;
      return this.#wait(file, given, undefined, TOKEN_ATTEMPTS);
    }
    const isOld = this.#renewed !== null && given === this.#renewed.old;
    const token = isOld ? this.#renewed.token : given;
    if (!this.#isAsked || token === this.#early || !expiresSoon(token)) return token;
    this.#early = token;
    const other = this.#call(file, token);
    if (other instanceof Promise) return this.#wait(file, other, token, 1).catch(() => {});
    return this.#replace(file, token, other) ? this.#takeNext(file) : token;
  }

  #takeNext(file) {
    const token = this.#next.get(file);
    this.#next.delete(file);
    return token;
  }

  /** The server has refused this token. Returns whether another one is there, or waited for. */
  renew(file, token) {
    if (!this.#isAsked) return false;
    if (this.#asking || (this.#kept && this.#kept.token !== token)) return true;
    if (this.#renewed !== null && this.#renewed.old === token) return true;
    const other = this.#call(file, token);
    if (!(other instanceof Promise)) return this.#replace(file, token, other);
    this.#kept = null;
    this.#wait(file, other, token, TOKEN_ATTEMPTS).catch(() => {}); // told to those that `take`
    return true;
  }

  /** What the function gives; nothing if it throws. */
  #call(file, old) {
    let given;
    callHandler(() => {
      given = this.#give(file, old);
    });
    return given ?? undefined;
  }

  /** Wait for a promise of the function, which may be asked `attempts` times. */
  #wait(file, first, old, attempts) {
    this.#asking = this.#until(file, first, old, attempts).finally(() => {
      this.#asking = null;
    });
    return this.#asking;
  }

  async #until(file, first, old, attempts) {
    let given = first;
    for (let attempt = 1; ; attempt++) {
      try {
        const token = (await given) ?? undefined;
        if (old === undefined) this.#keep(token);
        else if (!this.#replace(file, old, token)) throw new TokenError("The page has no other token.");
        return;
      } catch (error) {
        if (attempt >= attempts || error instanceof TokenError) throw error;
      }
      await whenOnline(retryWait(attempt, Math.random()));
      given = this.#call(file, old);
    }
  }

  /** Use `token` in place of `old`, for this file first; returns false if it is no other one. */
  #replace(file, old, token) {
    if (token === undefined || token === old) return false;
    this.#next.set(file, token);
    if (this.isShared) this.#keep(token);
    else this.#renewed = { old: this.#renewed?.token === old ? this.#renewed.old : old, token };
    this.#note(token);
    return true;
  }

  #keep(token) {
    this.#kept = { token };
    this.#note(token);
  }

  /** If a new token expires soon from the first, no other one is asked for early: a clock may be wrong. */
  #note(token) {
    if (expiresSoon(token)) this.#early = token;
  }
}

/** The function has answered, and has no other token. */
class TokenError extends Error {}

/** Whether a token is a ticket with a time at which it expires, and that is near. */
function expiresSoon(token) {
  const [, claims, signature] = String(token).split(".");
  if (signature === undefined) return false;
  try {
    const { exp } = JSON.parse(atob(claims.replaceAll("-", "+").replaceAll("_", "/")));
    return exp * 1000 - Date.now() < EARLY;
  } catch {
    return false; // it is something else
  }
}
