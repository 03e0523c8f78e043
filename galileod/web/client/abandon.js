// Abandons uploads on connections of their own (S8.22 of the protocol).

const ABANDON_TIMEOUT = 10_000; // ms for each; the server discards what it keeps in the end
const MAX_ABANDONING = 3; // connections at once: hundreds of files may be cancelled together

const toAbandon = []; // {url, metadata, resolve}, oldest first
let abandoning = 0; // connections

/**
 * Tell the server that the upload is not continued; `metadata` are those of its beginning, with
 * `abandon`. Returns a promise of whether the server has answered. If it does not, it is not told
 * of those that wait either.
 */
function abandonUpload(url, metadata) {
  return new Promise((resolve) => {
    toAbandon.push({ url: webSocketURL(url), metadata, resolve });
    abandonNext();
  });
}

function abandonNext() {
  while (abandoning < MAX_ABANDONING && toAbandon.length > 0) {
    const { url, metadata, resolve } = toAbandon.shift();
    abandoning += 1;
    abandonAt(url, metadata, (isAnswered) => {
      abandoning -= 1;
      resolve(isAnswered);
      if (!isAnswered) leaveAlone(url);
      abandonNext();
    });
  }
}

function leaveAlone(url) {
  for (const each of toAbandon.splice(0)) {
    if (each.url === url) each.resolve(false);
    else toAbandon.push(each);
  }
}

/** Calls `done` with whether the server has answered. */
function abandonAt(url, metadata, done) {
  let timer;
  const socket = new WebSocket(url);
  const end = (isAnswered) => {
    clearTimeout(timer);
    socket.onopen = socket.onmessage = socket.onerror = socket.onclose = null;
    socket.close();
    done(isAnswered);
  };
  timer = setTimeout(() => end(false), ABANDON_TIMEOUT);
  socket.onopen = () => socket.send(JSON.stringify(metadata));
  socket.onmessage = () => end(true);
  socket.onerror = socket.onclose = () => end(false);
}
