// The error of a failed upload, and the calling of a page's handlers.

/** An upload that did not succeed. `signals` is never empty; the last one is the reason. */
class UploadError extends Error {
  constructor(signals, options) {
    const { error, code } = signals[signals.length - 1];
    const reason = typeof error === "string" ? error : JSON.stringify(error);
    super(reason, options);
    this.name = "UploadError";
    this.signals = signals;
    this.code = typeof code === "string" ? code : "error";
    this.reason = reason;
  }
}

/** Call a page's handler. An exception in it is reported and does not end the upload. */
function callHandler(handler, ...values) {
  if (typeof handler !== "function") return;
  try {
    handler(...values);
  } catch (error) {
    if (typeof reportError === "function") reportError(error);
    else console.error(error);
  }
}
