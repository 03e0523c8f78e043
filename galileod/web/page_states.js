// The states of an upload, and what can be done in each.

const PAUSABLE = ["waiting", "sending", "interrupted"];
const DONE = ["stored", "skipped", "replaced"]; // ends without a failure
const ENDED = [...DONE, "failed", "cancelled"];

export const STATES = [...PAUSABLE, "checking", "paused", ...ENDED];

export const hasEnded = ({ state }) => ENDED.includes(state);

/** Whether it can be removed from the list. */
export const mayClear = ({ state }) => DONE.includes(state) || state === "cancelled";

/** Whether it can be paused. What is sent to its last byte cannot. */
export const mayPause = ({ state }) => PAUSABLE.includes(state);

/** Whether it goes on as soon as there is a connection. */
export const needsConnection = (upload) => mayPause(upload) || upload.state === "checking";

/** Failures after which a retry would fail too: the file is too large, or has changed. */
const PERMANENT = ["too_large", "file_changed", "file_unreadable"];

/** Whether a retry may succeed. */
export const mayRetry = ({ state, error }) =>
  state === "cancelled" || (state === "failed" && !PERMANENT.includes(error.code));
