// The strings that the page shows: sizes, rates, times and results.

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/** Sentences by failure code: for failures that the client detects, and for `hash_mismatch`, where
 * the server's sentence is too technical. For other codes the server's sentence is shown. */
const REASONS = {
  connection_lost: "The connection was lost before the server confirmed the file.",
  connection_failed: "The server cannot be reached, or does not accept uploads from this page.",
  hash_mismatch: "The file was damaged during the transfer and was not stored.",
  file_changed: "The file was changed while it was being sent. Choose it again to send it.",
  file_unreadable:
    "The file cannot be read. It may have been changed, moved or deleted since it was chosen." +
    " Choose it again to send it.",
};

/** Bytes as "0 B", "1.4 MiB", "200 MiB": at most one decimal, rounded down, so that a size below
 * a limit is never shown as the limit. */
export function sizeText(bytes) {
  let unit = 0;
  let value = bytes;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  const shown = value < 100 ? Math.floor(value * 10) / 10 : Math.floor(value);
  return `${shown} ${UNITS[unit]}`;
}

/** Seconds as "8 s", "3 min", "2 h 5 min"; null above a hundred hours and for NaN. */
export function timeText(seconds) {
  if (!(seconds < 360_000)) return null;
  const whole = Math.max(1, Math.ceil(seconds));
  if (whole < 60) return `${whole} s`;
  const minutes = Math.ceil(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const rest = minutes % 60;
  return `${Math.floor(minutes / 60)} h${rest ? ` ${rest} min` : ""}`;
}

/** A rate, and the time for `left` bytes: "3.2 MiB/s, 12 s left". Empty below 1 B/s. */
export function paceText(rate, left) {
  if (!(rate >= 1)) return "";
  const time = timeText(left / rate);
  return `${sizeText(rate)}/s${time && left > 0 ? `, ${time} left` : ""}`;
}

/** Why a file above the limit is not sent. */
export function tooLargeText(size, largest) {
  const [has, most] = [sizeText(size), sizeText(largest)];
  if (has !== most) return `Too large: the file is ${has}, the limit is ${most}.`;
  const exact = (bytes) => `${bytes.toLocaleString("en")} bytes`;
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
      return paceText(rate, size - sent) || (sent ? "Sending" : "Connecting");
    case "interrupted":
      return "Interrupted, continues by itself";
    case "paused":
      return "Paused";
    case "checking":
      return "Sent, being verified and stored";
    case "stored": {
      const how = receipt.hash ? "Stored, verified" : "Stored, size verified";
      // Names that differ only in their Unicode normalization look the same.
      const renamed = receipt.name.normalize() !== file.name.normalize();
      return renamed ? `${how}, as ${receipt.name}` : how;
    }
    case "cancelled":
      return mayBeStored ? "Cancelled, but the server may have stored the file." : "Cancelled";
    default:
      return reasonText(error);
  }
}

/** How many of `all` uploads are stored, failed, cancelled; `count` is by state. */
export function countText(all, count) {
  const parts = [`${count.stored} of ${all} stored`];
  for (const state of ["failed", "cancelled"]) {
    if (count[state] > 0) parts.push(`${count[state]} ${state}`);
  }
  return parts.join(", ");
}

/** Bytes sent `of` all, and the rate while uploads are active; then the bytes stored. */
export function amountText({ sent, of, rate, active }) {
  if (!active) return sent > 0 ? `${sizeText(sent)} stored` : "";
  const pace = paceText(rate, of - sent);
  return `${sizeText(sent)} of ${sizeText(of)}${pace && `, ${pace}`}`;
}

/** What a screen reader announces when uploads have ended. */
export function endText(uploads) {
  if (uploads.length === 1) return `${uploads[0].name}: ${statusText(uploads[0])}`;
  const parts = [];
  for (const state of ["stored", "failed", "cancelled"]) {
    const number = uploads.filter((upload) => upload.state === state).length;
    if (number) parts.push(`${number} ${state}`);
  }
  return `${uploads.length} files finished: ${parts.join(", ")}`;
}
