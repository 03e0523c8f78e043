// One WebSocket, and the timers that run until it is closed.

const MAX_BUFFERED = 8 * 2 ** 20; // bytes the WebSocket may hold before the next chunk waits
const CLOSE_TIMEOUT = 5_000; // ms for the closing handshake; a dead network never answers
const TICK = 200; // ms between two calls of `ontick`
const POLL = 5; // ms between two checks of a full WebSocket: no event tells that it drained

const OPEN = 1; // values of readyState
const CLOSED = 3;

/** Handlers are `onopen`, `onmessage(data)`, `onping`, `onerror`, `onclose(event)`, `ontick`. */
class Socket {
  #socket;
  #ticking;
  #polling = null;

  /** Throws what the WebSocket constructor throws: SyntaxError for an unusable URL. */
  constructor(url, { onopen, onmessage, onping, onerror, onclose, ontick }) {
    this.#socket = new WebSocket(url);
    this.#socket.binaryType = "arraybuffer";
    this.#socket.onopen = onopen;
    this.#socket.onmessage = ({ data }) => onmessage(data);
    this.#socket.on?.("ping", onping); // the package ws in Node.js; browsers do not tell
    this.#socket.onerror = onerror;
    this.#socket.onclose = onclose;
    this.#ticking = setInterval(ontick, TICK);
  }

  get url() {
    return this.#socket.url;
  }

  get isOpen() {
    return this.#socket.readyState === OPEN;
  }

  /** Bytes that were sent to the WebSocket and have not left the browser. */
  get buffered() {
    return this.#socket.bufferedAmount;
  }

  get isFull() {
    return this.buffered >= MAX_BUFFERED;
  }

  send(message) {
    this.#socket.send(message);
  }

  /** Call `callback` after POLL, to check again whether the WebSocket is full. */
  retryLater(callback) {
    this.#polling ??= setTimeout(() => {
      this.#polling = null;
      callback();
    }, POLL);
  }

  /** Begin to close. No handler is called from now on. */
  close() {
    clearInterval(this.#ticking);
    clearTimeout(this.#polling);
    const socket = this.#socket;
    socket.onopen = socket.onmessage = socket.onerror = socket.onclose = null;
    if (socket.readyState !== CLOSED) socket.close(1000);
  }

  /** After `close`: call `callback` when the connection is closed, at the latest after 5 s. */
  whenClosed(callback) {
    if (this.#socket.readyState === CLOSED) {
      callback();
      return;
    }
    const closed = () => {
      clearTimeout(waiting);
      this.#socket.onclose = null;
      callback();
    };
    const waiting = setTimeout(closed, CLOSE_TIMEOUT);
    this.#socket.onclose = closed;
  }
}

/** Why no connection could be made. Browsers do not tell a page which of the two it is. */
function unreachableText(url, wasConnected) {
  const other = wasConnected ? "" : ", or does not accept uploads from this page";
  return `The server at ${url} cannot be reached${other}.`;
}
