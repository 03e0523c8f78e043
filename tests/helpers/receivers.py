"""Servers that are not galileod: one like the original's Perl receiver, one that follows a script.

Real sockets, in threads; nothing here shares code with the client.
"""

import base64
import hashlib
import json
import select
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from attrs import define, field, frozen
from helpers.daemon import DEADLINE
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

TEXT, BINARY, CLOSE, PING = 0x1, 0x2, 0x8, 0x9

MOJOLICIOUS_LIMIT: Final = 262_144
"""Bytes in a message that the original receiver takes."""


@frozen
class Received:
    """A file as the receiver got it."""

    metadata: Mapping[str, Any]
    data: bytes
    chunks: list[int]
    claim: Mapping[str, str] | None
    token: str | None


class PerlReceiver:
    """Asks for one chunk at a time, says no chunksize, and leaves closing to the client."""

    def __init__(self, tls: ssl.SSLContext | None = None, *, chunksize: int | None = None) -> None:
        self.files: list[Received] = []
        self._ready: dict[str, object] = {"ready": 1}
        if chunksize is not None:
            self._ready["chunksize"] = chunksize
        self._server = serve(
            self._receive, "127.0.0.1", 0, ssl=tls, compression=None, ping_interval=None,
            max_size=MOJOLICIOUS_LIMIT,
        )  # fmt: skip
        self._thread = threading.Thread(target=self._server.serve_forever)
        scheme = "ws" if tls is None else "wss"
        self.port: int = self._server.socket.getsockname()[1]
        self.url = f"{scheme}://localhost:{self.port}/upload"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()

    def _receive(self, websocket: ServerConnection) -> None:
        with suppress(ConnectionClosed):
            metadata = json.loads(websocket.recv(DEADLINE))
            data, chunks = bytearray(), list[int]()
            websocket.send(json.dumps(self._ready))
            while isinstance(message := websocket.recv(DEADLINE), bytes):
                data += message
                chunks.append(len(message))
                websocket.send(json.dumps(self._ready))
            signal = json.loads(message)
            assert signal["finished"] in (True, 1)
            claim = signal.get("hash")
            head = websocket.request
            token = head.headers.get("Authorization") if head else None
            if len(data) != metadata["size"]:
                reason = f"Expected: {metadata['size']} bytes. Got: {len(data)} bytes."
                websocket.send(json.dumps({"error": reason, "fatal": 1}))
            elif claim and hashlib.new(claim["type"], data).hexdigest() != claim["value"]:
                websocket.send(json.dumps({"error": "Wrong hash.", "fatal": 1}))
            else:
                self.files.append(Received(metadata, bytes(data), chunks, claim, token))
                websocket.send(json.dumps({"close": 1}))
            websocket.recv(DEADLINE)  # until the client closes


class Gone(Exception):  # noqa: N818  the ordinary end of a script
    """The client is gone."""


@define
class Peer:
    """A connection to the scripted server, byte by byte; `number` counts from 1."""

    sock: socket.socket
    number: int
    _over: threading.Event
    _buffer: bytearray = field(factory=bytearray)

    def read_head(self) -> dict[str, str]:
        """The request's headers; the request line is under the empty name."""
        while b"\r\n\r\n" not in self._buffer:
            self._fill()
        end = self._buffer.index(b"\r\n\r\n") + 4
        first, *lines = self._take(end).decode("latin-1").strip().split("\r\n")
        pairs = (line.partition(":")[::2] for line in lines)
        return {"": first, **{name.lower(): value.strip() for name, value in pairs}}

    def answer(self, text: str) -> None:
        """Bytes of an HTTP answer, with newlines as they are written in a test."""
        self.read_head()
        self.sock.sendall(text.replace("\n", "\r\n").encode())

    def accept(self, extra: str = "") -> dict[str, str]:
        """Answer the upgrade as a WebSocket server does."""
        head = self.read_head()
        proof = head["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        digest = hashlib.sha1(proof.encode(), usedforsecurity=False).digest()
        self.sock.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: "
            + base64.b64encode(digest)
            + b"\r\n"
            + extra.encode()
            + b"\r\n"
        )
        return head

    def say(self, **signal: object) -> None:
        """A signal."""
        self.frame(TEXT, json.dumps(signal).encode())

    def frame(self, opcode: int, payload: bytes = b"") -> None:
        """A server's frame."""
        length = len(payload)
        head = struct.pack("!BB", 0x80 | opcode, length) if length < 126 else b""
        if 126 <= length < 1 << 16:
            head = struct.pack("!BBH", 0x80 | opcode, 126, length)
        elif length >= 1 << 16:
            head = struct.pack("!BBQ", 0x80 | opcode, 127, length)
        self.sock.sendall(head + payload)

    def read_frame(self) -> tuple[int, bytes]:
        """The client's next frame, which must be masked and whole."""
        while len(self._buffer) < 2:
            self._fill()
        first, second = self._buffer[:2]
        assert first & 0x80, "in one frame"
        assert second & 0x80, "masked"
        extended = {126: 2, 127: 8}.get(second & 0x7F, 0)
        while len(self._buffer) < 6 + extended:
            self._fill()
        length = second & 0x7F
        if extended:
            length = int.from_bytes(self._buffer[2 : 2 + extended])
        while len(self._buffer) < 6 + extended + length:
            self._fill()
        key = self._take(6 + extended)[-4:]
        payload = self._take(length)
        pad = (key * (length // 4 + 1))[:length]
        data = (int.from_bytes(payload) ^ int.from_bytes(pad)).to_bytes(length)
        return first & 0x0F, data

    def hear(self) -> dict[str, Any]:
        """The client's next signal."""
        opcode, payload = self.read_frame()
        assert opcode == TEXT, opcode
        signal: dict[str, Any] = json.loads(payload)
        return signal

    def take_file(self) -> bytes:
        """A whole upload up to `finished`, chunk by chunk; `close` is not said."""
        size, data = self.hear()["size"], b""
        while len(data) < size:
            self.say(ready=True)
            data += self.read_frame()[1]
        self.say(ready=True)
        assert self.hear()["finished"]
        return data

    def wait_for_end(self) -> None:
        """Read, and look at nothing, until the client is gone."""
        with suppress(OSError):
            while self.sock.recv(65536):
                pass

    def stay(self) -> None:
        """Be there, and do nothing, until the test is over."""
        self._over.wait(DEADLINE)

    def goodbye(self) -> None:
        """Answer the client's Close frame."""
        while self.read_frame()[0] != CLOSE:
            pass
        self.frame(CLOSE, b"\x03\xe8")

    def reset(self) -> None:
        """End the connection as a crash does."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def _fill(self) -> None:
        try:
            data = self.sock.recv(65536)
        except OSError:
            data = b""
        if not data:
            raise Gone
        self._buffer += data

    def _take(self, length: int) -> bytes:
        data = bytes(self._buffer[:length])
        del self._buffer[:length]
        return data


Script = Callable[[Peer], None]


class Scripted:
    """Runs a script for each connection, one after another or side by side."""

    def __init__(
        self, script: Script, *, unix: Path | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        self._script = script
        self._tls = tls
        self.connections = 0
        self.failures: list[BaseException] = []
        self._threads: list[threading.Thread] = []
        self._over = threading.Event()
        if unix:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(str(unix))
            self._listener.listen()
            self.url = f"ws+unix:{unix}:/upload"
        else:
            self._listener = socket.create_server(("127.0.0.1", 0))
            scheme = "ws" if tls is None else "wss"
            self.port: int = self._listener.getsockname()[1]
            self.url = f"{scheme}://127.0.0.1:{self.port}/upload"
        self._acceptor = threading.Thread(target=self._accept)

    def __enter__(self) -> Self:
        self._acceptor.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._acceptor.join()
        self._listener.close()
        for thread in self._threads:
            thread.join(DEADLINE)
            assert not thread.is_alive(), "a script does not end"
        if kind is None:
            assert not self.failures, self.failures

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return  # the test is over
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=(connection, self.connections))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        connection.settimeout(DEADLINE)
        with connection:
            try:
                if self._tls is None:
                    self._script(Peer(connection, number, self._over))
                else:
                    with self._tls.wrap_socket(connection, server_side=True) as secured:
                        self._script(Peer(secured, number, self._over))
            except (Gone, OSError):
                pass  # the client went away, which scripts do not look at
            except BaseException as failure:  # noqa: BLE001  the test is told at its end
                self.failures.append(failure)


@contextmanager
def connect_proxy(
    credentials: str | None = None, *, tls: ssl.SSLContext | None = None
) -> Iterator[tuple[int, list[str]]]:
    """An HTTP proxy that knows CONNECT alone; gives its port, and the targets it was asked for."""
    asked: list[str] = []

    def script(peer: Peer) -> None:
        head = peer.read_head()
        method, target, _ = head[""].split()
        assert method == "CONNECT"
        asked.append(target)
        if credentials is not None:
            expected = "Basic " + base64.b64encode(credentials.encode()).decode()
            if head.get("proxy-authorization") != expected:
                peer.sock.sendall(
                    b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
                )
                return
        host, _, port = target.rpartition(":")
        try:
            server = socket.create_connection((host.strip("[]"), int(port)), DEADLINE)
        except OSError:
            peer.sock.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
            return
        with server:
            peer.sock.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            _pump(peer.sock, server)

    with Scripted(script, tls=tls) as proxy:
        yield proxy.port, asked


def _pump(one: socket.socket, other: socket.socket) -> None:
    """Pass bytes both ways until either side ends."""
    ways = {one: other, other: one}
    while True:
        readable, _, _ = select.select([one, other], [], [], DEADLINE)
        for sock in readable:
            data = sock.recv(65536)
            if not data:
                return
            ways[sock].sendall(data)


def after_upgrade(script: Script) -> Script:
    """Accepts the upgrade, reads the metadata, and runs the script."""

    def run(peer: Peer) -> None:
        peer.accept()
        peer.hear()
        script(peer)

    return run


def says(*frames: tuple[int, bytes]) -> Script:
    """Sends frames, and reads on until the client closes."""

    def script(peer: Peer) -> None:
        for opcode, payload in frames:
            peer.frame(opcode, payload)
        peer.goodbye()
        peer.wait_for_end()

    return after_upgrade(script)
