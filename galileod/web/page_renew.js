// Renews the ticket of the page: asks the application for another one.

const TIMEOUT = 15_000; // ms for the answer
const LONGEST = 16_384; // characters of an answer
const MAX_TICKET = 8192;
const TICKET = /^[\w.~+/=-]+$/;

/**
 * The URL for a path in the fragment of the page at `base`; null unless it is one of the same origin.
 * Anybody can make a link with a fragment, so nothing is ever sent to another origin.
 */
export function renewalOf(path, base) {
  if (!/^\/(?![/\\])/.test(path)) return null;
  const url = new URL(path, base);
  return url.origin === new URL(base).origin ? url : null;
}

/** The ticket in an answer, which is the ticket or JSON ({"ticket": …}); null if there is none. */
export function ticketIn(text) {
  let found = text.trim();
  if (found.startsWith("{")) {
    try {
      found = JSON.parse(found).ticket;
    } catch {
      return null;
    }
  }
  const valid = typeof found === "string" && found.length <= MAX_TICKET && TICKET.test(found);
  return valid ? found : null;
}

/**
 * A promise of another ticket, or of null if the application gives none. It is rejected if the
 * application cannot be reached, or fails: that may be different a moment later.
 */
export async function fetchTicket(url) {
  const answer = await fetch(url, {
    mode: "same-origin",
    credentials: "same-origin",
    redirect: "manual", // to a page where one logs in, for instance: that gives no ticket
    cache: "no-store",
    headers: { Accept: "text/plain, application/json" },
    signal: AbortSignal.timeout(TIMEOUT),
  });
  if (answer.status >= 500) throw new Error(`The application answered with ${answer.status}.`);
  return answer.ok && answer.body ? ticketIn(await textOf(answer)) : null;
}

/** The text of an answer, or "" if it is too long: the path may be that of anything. */
async function textOf({ body }) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return text;
    text += value;
    if (text.length <= LONGEST) continue;
    await reader.cancel();
    return "";
  }
}
