// Whether and when an upload goes on after a failure. No I/O, no clock. Times are in ms.

const RETRIES = 7; // attempts in a row that nothing came of: 20 to 45 s, enough for a restart
const FIRST_RETRIES = 3; // while the server has never accepted a connection: it may be a wrong URL
const MAX_LOSSES = 20; // connections in a row that one file may lose, whatever `retries` is
const FIRST_WAIT = 500;
const MAX_WAIT = 15_000;

/** The codes of failures after which a client may go on by itself (C8.8 of the protocol). */
const GOES_ON = new Set([
  "connection_failed",
  "connection_lost",
  "timeout",
  "idle",
  "too_slow",
  "busy",
  "shutting_down",
  "storage_failed",
]);

/** Those of them that say that the server takes nothing now, and nothing about a file. */
const AWAY = new Set(["connection_failed", "busy", "shutting_down"]);

/** The failure of a connection that the server has ended by this signal. */
function failureBy({ code, error }) {
  const reason = typeof error === "string" ? error : JSON.stringify(error);
  if (GOES_ON.has(code)) return { code, error: reason };
  return { code: "connection_lost", error: `The server ended the connection: ${reason}` };
}

/** How long to wait before attempt number `attempt`, from 1. Half of it is random, from 0 to 1. */
function retryWait(attempt, random) {
  const longest = Math.min(MAX_WAIT, FIRST_WAIT * 2 ** Math.min(attempt - 1, 10));
  return longest * (0.5 + random / 2);
}
