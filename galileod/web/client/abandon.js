// Abandons an upload on a connection of its own (S8.22 of the protocol).

const ABANDON_TIMEOUT = 10_000; // ms for one attempt
const ABANDON_ATTEMPTS = 10; // some two minutes; then the server keeps the upload for its time

/**
 * Tell the server that the upload is not continued; `metadata` are those of its beginning. While
 * the server cannot be reached, it is tried again. Returns a promise of whether the server keeps
 * nothing of the upload any more.
 */
async function abandonUpload(url, metadata) {
  const said = JSON.stringify({ ...metadata, can: ["resume"], abandon: true });
  for (let attempt = 1; ; attempt++) {
    const answer = await askOnce(url, said);
    // `close`: the file is stored already.
    if (answer !== null) return Boolean(answer.close) || answer.code === "abandoned";
    if (attempt === ABANDON_ATTEMPTS) return false;
    await whenOnline(retryWait(attempt, Math.random()));
  }
}

/** Send a message on a connection of its own. A promise of the answer, or of null if none comes. */
function askOnce(url, message) {
  return new Promise((resolve) => {
    let timer;
    const socket = new WebSocket(webSocketURL(url));
    const end = (answer) => {
      clearTimeout(timer);
      socket.onopen = socket.onmessage = socket.onerror = socket.onclose = null;
      socket.close();
      resolve(answer);
    };
    timer = setTimeout(() => end(null), ABANDON_TIMEOUT);
    socket.onopen = () => socket.send(message);
    socket.onmessage = ({ data }) => end(parseSignal(data) ?? {});
    socket.onerror = socket.onclose = () => end(null);
  });
}

/** A promise that resolves after `ms`, or when the browser says that it is online. */
function whenOnline(ms) {
  return new Promise((resolve) => {
    let timer;
    const end = () => {
      clearTimeout(timer);
      globalThis.removeEventListener?.("online", end);
      resolve();
    };
    timer = setTimeout(end, ms);
    globalThis.addEventListener?.("online", end);
  });
}
