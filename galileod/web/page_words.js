// The sentences that the page shows: states, results and totals.

import {
  joined,
  numberText,
  paceText,
  percentText,
  sizeText,
  someText,
  timeText,
} from "./page_units.js";

/** Sentences by failure code: for failures that the client detects, and for others where the server's
 * sentence is too technical. For other codes the server's sentence is shown. */
const REASONS = {
  connection_lost: "The connection was lost before the server confirmed the file.",
  connection_failed: "The server cannot be reached, or does not accept uploads from this page.",
  taken_over: "Another tab or device is sending this file now.",
  hash_mismatch: "The file was damaged during the transfer and was not stored.",
  file_changed: "The file was changed while it was being sent. Choose it again to send it.",
  file_unreadable:
    "The file cannot be read. It may have been changed, moved or deleted since it was chosen." +
    " Choose it again to send it.",
};

/** Why a file above the limit is not sent. */
export function tooLargeText(size, largest) {
  const [has, most] = [sizeText(size), sizeText(largest)];
  if (has !== most) return `Too large: the file is ${has}, the limit is ${most}.`;
  const exact = (bytes) => `${numberText(bytes)} bytes`;
  return `Too large: the file is ${exact(size)}, the limit is ${exact(largest)}.`;
}

/** Why an upload failed. */
export function reasonText({ code, reason }) {
  return Object.hasOwn(REASONS, code) ? REASONS[code] : reason; // the code is not trusted
}

/** The state of an upload. */
export function statusText({ state, file, size, sent, rate, mayBeStored, error, receipt }) {
  switch (state) {
    case "waiting":
      return "Waiting";
    case "sending":
      return paceText(rate, (size - sent) / rate) || (sent ? "Sending" : "Connecting");
    case "interrupted":
      if (sent === size) return "Sent; the server is asked again whether it is stored";
      return `Interrupted at ${percentText(sent / size)}, continues by itself`;
    case "paused":
      return sent > 0 ? `Paused at ${percentText(sent / size)}` : "Paused";
    case "checking":
      return "Sent, being verified and stored";
    case "stored": {
      const how = receipt.hash ? "Stored, verified" : "Stored, size verified";
      // Names that differ only in their Unicode normalization look the same.
      const renamed = receipt.name.normalize() !== file.name.normalize();
      return renamed ? `${how}, as ${receipt.name}` : how;
    }
    case "skipped":
      return "Already there";
    case "replaced":
      return "Replaced by a later file of the same name";
    case "cancelled":
      return mayBeStored ? "Cancelled, but the server may have stored the file." : "Cancelled";
    default:
      return reasonText(error);
  }
}

/** An upload that was begun and not ended, and how it can be continued. */
export function begunText({ sent, size, handle }) {
  const hint = handle ? "" : ". Choose or drop this file again to continue.";
  return `${percentText(sent / size)} sent${hint}`;
}

/** What is said of the uploads in each of these states. */
const OTHER_ENDS = {
  skipped: "already there",
  replaced: "replaced",
  failed: "failed",
  cancelled: "cancelled",
};

const otherEnds = (count) =>
  Object.entries(OTHER_ENDS).map(
    ([state, word]) => count[state] > 0 && `${numberText(count[state])} ${word}`,
  );

/**
 * How many of `all` uploads are stored, and have ended otherwise; `count` is by state. What is there
 * already is none of those that are to be stored.
 */
export function countText(all, count) {
  const most = all - count.skipped;
  const of = count.skipped > 0 && count.stored === most ? "" : ` of ${numberText(most)}`;
  const stored = most > 0 && `${numberText(count.stored)}${of} stored`;
  return joined(stored, ...otherEnds(count));
}

/**
 * Bytes sent of all, the rate and the time left while uploads are `active`, neither while all are
 * paused or in an outage; then the bytes that are stored.
 */
export function amountText({ sent, size, rate, secondsLeft }, { active, isPaused, outage }) {
  if (!active) return sent > 0 ? `${sizeText(sent)} stored` : "";
  const pace = !outage && paceText(rate, secondsLeft);
  return joined(`${sizeText(sent)} of ${sizeText(size)}`, isPaused ? "paused" : pace);
}

const LOSSES = {
  connection_failed: "The server cannot be reached",
  busy: "The server is busy",
  shutting_down: "The server is being restarted",
};

/** Why there is no connection, without a full stop. */
export function lossText({ error }) {
  return Object.hasOwn(LOSSES, error.code) ? LOSSES[error.code] : "Connection lost";
}

const MANY = 5; // attempts after which it is likely that waiting does not help

/** An outage, and when the next connection is tried: `at`, by the clock of `now`. */
export function outageText(outage, now) {
  const { at, attempt, error, wasConnected } = outage;
  const next = at === null ? "Connecting again…" : `Trying again in ${timeText((at - now) / 1000)}.`;
  const isRefused = error.code === "connection_failed" && attempt >= MANY && !wasConnected;
  const why = isRefused ? " It may not accept uploads from this page." : "";
  return `${lossText(outage)}. ${next}${why}`;
}

/** How many files the list does not show. */
export function moreText(number) {
  return `${someText(number, "more file")}.`;
}

/** What a screen reader announces when uploads have ended. */
export function endText(uploads) {
  if (uploads.length === 1) return `${uploads[0].name}: ${statusText(uploads[0])}`;
  const count = {};
  for (const { state } of uploads) count[state] = (count[state] ?? 0) + 1;
  const stored = count.stored > 0 && `${numberText(count.stored)} stored`;
  const ends = joined(stored, ...otherEnds(count));
  return `${someText(uploads.length, "file")} finished: ${ends}`;
}
