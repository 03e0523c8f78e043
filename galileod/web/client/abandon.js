// Abandons an upload on a connection of its own (S8.22 of the protocol).

const ABANDON_TIMEOUT = 10_000; // ms for all of it; the server discards what it keeps in the end

/**
 * Tell the server that the upload is not continued; `metadata` are those of its beginning, with
 * `abandon`. Returns a promise of whether the server has answered.
 */
function abandonUpload(url, metadata) {
  return new Promise((resolve) => {
    let timer;
    const socket = new WebSocket(webSocketURL(url));
    const end = (isAnswered) => {
      clearTimeout(timer);
      socket.onopen = socket.onmessage = socket.onerror = socket.onclose = null;
      socket.close();
      resolve(isAnswered);
    };
    timer = setTimeout(() => end(false), ABANDON_TIMEOUT);
    socket.onopen = () => socket.send(JSON.stringify(metadata));
    socket.onmessage = () => end(true);
    socket.onerror = socket.onclose = () => end(false);
  });
}
