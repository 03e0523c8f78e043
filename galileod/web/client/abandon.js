// Abandons uploads on connections of their own (S8.22 of the protocol).

const ABANDON_TIMEOUT = 10_000; // ms for one attempt
const ABANDON_ATTEMPTS = 10; // some two minutes; then the server keeps the upload for its time
const MAX_ABANDONING = 3; // connections at once: hundreds of files may be cancelled together

const toAbandon = []; // {url, key, message, resolve}, oldest first
const wanted = new Set(); // keys of uploads that were tried again: they are not abandoned any more
let abandoning = 0; // how many are being told

/**
 * Tell the server that the upload is not continued; `metadata` are those of its beginning. While
 * the server cannot be reached, it is tried again. Returns a promise of whether the server keeps
 * nothing of the upload any more.
 */
function abandonUpload(url, metadata) {
  const message = JSON.stringify({ ...metadata, can: ["resume"], abandon: true });
  const key = metadata.upload;
  wanted.delete(key);
  return new Promise((resolve) => {
    toAbandon.push({ url: webSocketURL(url), key, message, resolve });
    abandonNext();
  });
}

function abandonNext() {
  while (abandoning < MAX_ABANDONING && toAbandon.length > 0) {
    const { url, key, message, resolve } = toAbandon.shift();
    abandoning += 1;
    untilAnswered(url, key, message).then((answer) => {
      abandoning -= 1;
      // `close`: the file is stored already.
      resolve(Boolean(answer?.close) || answer?.code === "abandoned");
      if (answer === null) leaveAlone(url);
      abandonNext();
    });
  }
}

/** The server could not be reached: it is not told of those that wait either. */
function leaveAlone(url) {
  for (const each of toAbandon.splice(0)) {
    if (each.url === url) each.resolve(false);
    else toAbandon.push(each);
  }
}

/** A promise of the answer, {} if it is not wanted any more, or null if none comes in all attempts. */
async function untilAnswered(url, key, message) {
  for (let attempt = 1; ; attempt++) {
    if (wanted.has(key)) return {};
    const answer = await askOnce(url, message);
    if (answer !== null || attempt === ABANDON_ATTEMPTS) return answer;
    await whenOnline(retryWait(attempt, Math.random()));
  }
}

/** Send a message on a connection of its own. A promise of the answer, or of null if none comes. */
function askOnce(url, message) {
  return new Promise((resolve) => {
    let timer;
    const socket = new WebSocket(url);
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
