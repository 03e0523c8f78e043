// The strings that the page shows: sizes, rates, times and results.

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

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

/** A rate and the time left, where each is known: "3.2 MiB/s, 12 s left". */
export function paceText(rate, seconds) {
  const time = seconds > 0 && timeText(seconds);
  return joined(rate >= 1 && `${sizeText(rate)}/s`, time && `${time} left`);
}

const joined = (...parts) => parts.filter(Boolean).join(", ");

const numberText = (number) => number.toLocaleString("en");

/** A number of things: "1 file", "1,200 files". */
export function someText(number, one) {
  return `${numberText(number)} ${one}${number === 1 ? "" : "s"}`;
}

const MOST = 56; // characters of a folder's path

/** The path of a folder, with "…" for folders in the middle where it is too long for a line. */
export function folderText(path) {
  const names = path.split("/");
  if (path.length <= MOST || names.length < 3) return path;
  const first = names.shift();
  const last = [names.pop()];
  const length = () => first.length + last.join("/").length;
  while (names.length > 0 && length() + names.at(-1).length < MOST - 3) last.unshift(names.pop());
  return [first, ...(names.length > 0 ? ["…"] : []), ...last].join("/");
}

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
  const some = (state) => count[state] > 0 && `${numberText(count[state])} ${state}`;
  const stored = `${numberText(count.stored)} of ${numberText(all)} stored`;
  return joined(stored, some("failed"), some("cancelled"));
}

/** Bytes sent of all, the rate and the time left while uploads are `active`; then what is stored. */
export function amountText({ sent, size, rate, secondsLeft }, active) {
  if (!active) return sent > 0 ? `${sizeText(sent)} stored` : "";
  return joined(`${sizeText(sent)} of ${sizeText(size)}`, paceText(rate, secondsLeft));
}

/** How many files the list does not show. */
export function moreText(number) {
  return `${someText(number, "more file")}.`;
}

/** What a screen reader announces when uploads have ended. */
export function endText(uploads) {
  if (uploads.length === 1) return `${uploads[0].name}: ${statusText(uploads[0])}`;
  const some = (state) => {
    const { length } = uploads.filter((upload) => upload.state === state);
    return length > 0 && `${numberText(length)} ${state}`;
  };
  const ends = joined(some("stored"), some("failed"), some("cancelled"));
  return `${someText(uploads.length, "file")} finished: ${ends}`;
}
