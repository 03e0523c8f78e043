// The token of one upload, over all its attempts.

const MAX_REFUSALS = 3; // tokens in a row that the server may refuse for a file before it fails

class Authorization {
  isPending = false; // whether a token is waited for
  #settings;
  #on;
  #token; // that was taken last
  #refusals = 0; // tokens in a row that the server has refused
  #refusal = null; // its last answer of that kind, a signal
  #refused; // the token that this was about

  /**
   * `on` has the handlers `given()` for when a token that was waited for is there, and
   * `denied(error, refusal)` if there is none; `refusal` is the signal by which the server has refused
   * the last one, or null.
   */
  constructor(settings, on) {
    this.#settings = settings;
    this.#on = on;
  }

  /** Take a token for a new attempt; returns false if one is waited for, or there is none. */
  take() {
    if (this.isPending) return false;
    let taken = this.#take();
    if (!(taken instanceof Promise)) {
      if (this.#refusal === null || taken !== this.#refused) return true;
      taken = Promise.reject(new TokenError("The page has no other token."));
    }
    this.isPending = true;
    taken.then(
      () => {
        this.isPending = false;
        this.#on.given();
      },
      (error) => {
        this.isPending = false;
        this.#on.denied(error, this.#refusal);
      },
    );
    return false;
  }

  #take() {
    const taken = this.#settings.tokens.take(this.#settings.file);
    if (!(taken instanceof Promise)) this.#token = taken;
    return taken;
  }

  /** The token that was taken. */
  get token() {
    return this.#token;
  }

  /** The newest token that is known now. */
  get newest() {
    this.#take();
    return this.#token;
  }

  /** The server has refused the token by this signal. Returns whether the file may go on with another. */
  refused(signal) {
    const { file, tokens } = this.#settings;
    if (this.#refusals >= MAX_REFUSALS || !tokens.renew(file, this.#token)) return false;
    this.#refusals += 1;
    this.#refusal = signal;
    this.#refused = this.#token;
    return true;
  }

  /** The server has accepted the token. */
  accepted() {
    this.#refusals = 0;
    this.#refusal = null;
  }
}
