// Sizes, rates, times, numbers and folders, as the page shows them.

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

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

/** The parts that are there, as a list. */
export const joined = (...parts) => parts.filter(Boolean).join(", ");

/** A number as "1,200". */
export const numberText = (number) => number.toLocaleString("en");

/** A ratio as "60%", rounded down. */
export const percentText = (ratio) => `${Math.floor(100 * ratio)}%`;

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
