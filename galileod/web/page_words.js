// Sizes, rates, times and ends of uploads, in words for the page.

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/** Sentences for the ends that the client itself sees, and for one that the server tells to those
 * who know what a hash is; the others are the server's own. */
const REASONS = {
  connection_lost: "The connection was lost before the server had confirmed the file.",
  connection_failed: "The server cannot be reached, or does not accept uploads from this page.",
  hash_mismatch: "The file was damaged on its way, so it was not stored.",
  file_changed: "The file was changed while it was being sent. Choose it again to send it.",
  file_unreadable:
    "The file cannot be read. It may have been changed, moved or deleted since it was chosen." +
    " Choose it again to send it.",
};

/** Bytes as "0 B", "1.4 MiB", "200 MiB": at most one digit behind the point, and never rounded up
 * to a limit that they are below. */
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

/** Seconds as "8 s", "3 min", "2 h 5 min"; null where nobody can tell. */
export function timeText(seconds) {
  if (!(seconds < 360_000)) return null; // a hundred hours is no forecast any more; nor is NaN
  const whole = Math.max(1, Math.ceil(seconds));
  if (whole < 60) return `${whole} s`;
  const minutes = Math.ceil(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const rest = minutes % 60;
  return `${Math.floor(minutes / 60)} h${rest ? ` ${rest} min` : ""}`;
}

/** A rate and what it means for `left` bytes: "3.2 MiB/s, 12 s left". Empty while nothing moves. */
export function paceText(rate, left) {
  if (!(rate >= 1)) return "";
  const time = timeText(left / rate);
  return `${sizeText(rate)}/s${time && left > 0 ? `, ${time} left` : ""}`;
}

/** Why a file is not sent at all: it is above the limit. */
export function tooLargeText(size, largest) {
  const [has, most] = [sizeText(size), sizeText(largest)];
  if (has !== most) return `Too large: the file has ${has}, and at most ${most} are taken.`;
  const exact = (bytes) => `${bytes.toLocaleString("en")} bytes`;
  return `Too large: the file has ${exact(size)}, and at most ${exact(largest)} are taken.`;
}

/** Why an upload failed. */
export function reasonText({ code, reason }) {
  return Object.hasOwn(REASONS, code) ? REASONS[code] : reason; // the code comes from a server
}

/** How an upload stands, in words. */
export function statusText({ state, file, size, sent, rate, late, error, receipt }) {
  switch (state) {
    case "waiting":
      return "Waiting";
    case "sending":
      return paceText(rate, size - sent) || (sent ? "Sending" : "Connecting");
    case "checking":
      return "Sent, being checked and stored";
    case "stored": {
      const how = receipt.hash ? "Stored, verified" : "Stored, size verified";
      // A name that was only written in another Unicode form looks the same, and is.
      const renamed = receipt.name.normalize() !== file.name.normalize();
      return renamed ? `${how}, as ${receipt.name}` : how;
    }
    case "cancelled":
      return late ? "Cancelled. The server may have stored the file all the same." : "Cancelled";
    default:
      return reasonText(error);
  }
}

/** Of `all` uploads, how many are where; `count` is by state. */
export function countText(all, count) {
  const parts = [`${count.stored} of ${all} stored`];
  for (const state of ["failed", "cancelled"]) {
    if (count[state] > 0) parts.push(`${count[state]} ${state}`);
  }
  return parts.join(", ");
}

/** Bytes stored or sent `of` those that shall be, and the pace while there is more to come. */
export function amountText({ sent, of, rate, active }) {
  if (!active) return sent > 0 ? `${sizeText(sent)} stored` : "";
  const pace = paceText(rate, of - sent);
  return `${sizeText(sent)} of ${sizeText(of)}${pace && `, ${pace}`}`;
}

/** What a screen reader says of uploads that have ended, one or many. */
export function endText(uploads) {
  if (uploads.length === 1) return `${uploads[0].name}: ${statusText(uploads[0])}`;
  const said = [];
  for (const state of ["stored", "failed", "cancelled"]) {
    const number = uploads.filter((upload) => upload.state === state).length;
    if (number) said.push(`${number} ${state}`);
  }
  return `${uploads.length} files ended: ${said.join(", ")}`;
}
