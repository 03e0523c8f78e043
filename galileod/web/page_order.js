// The order of the list, without the DOM: what runs is at the top, what has ended at the bottom.

/** The places in the list, from the top; page.css has the same. */
const PLACES = ["running", "failed", "waiting", "ended", "there"];

const SETTLED = 1_000; // ms from the begin of an upload until its row moves to the top

/**
 * The place of an upload that was begun at the time `begun`. Small files that are stored within a
 * moment never move to the top: several hundred would come and go there each second.
 */
export function placeOf({ state, sent }, begun, now) {
  switch (state) {
    case "sending":
    case "checking":
      return now - begun < SETTLED ? "waiting" : "running";
    case "interrupted":
      return "running";
    case "paused":
    case "waiting":
      return sent > 0 ? "running" : "waiting";
    case "failed":
      return "failed";
    case "skipped":
      return "there"; // below what is new
    default:
      return "ended";
  }
}

/** The first `number` of `rows`, each of which has a `place`, as the list is ordered. */
export function firstOf(rows, number) {
  const groups = new Map(PLACES.map((place) => [place, []]));
  for (const row of rows) {
    const group = groups.get(row.place);
    if (group.length < number) group.push(row);
  }
  return new Set([...groups.values()].flat().slice(0, number));
}
