"""Minimal clients of GalileoSend, HTTP PUT and tus that take almost no CPU time.

An exchange is a generator that yields READ or WRITE when it waits for its socket. `run_blocking`
runs one on a blocking socket; an `EventLoop` runs several in one thread. File data is sent with
sendfile. WebSocket frames are masked with the key 0, which is valid and does not change the data;
the server unmasks them nevertheless.
"""

import json
import os
import selectors
import socket
import struct
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
Exchange = Generator[int, None, None]

CHUNK = 250_000
"""Bytes of a chunk if a `ready` has no size: the default of the original clients."""

TIMEOUT = 60
"""Seconds without progress after which an exchange fails."""

UPGRADE = (
    b"GET /upload HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


@dataclass(frozen=True)
class Part:
    """The data of one upload: `size` bytes at `offset` of the descriptor `source`."""

    name: str
    source: int
    offset: int
    size: int
    sha1: str


class Connection:
    """A connection, with the bytes that were received and not parsed yet."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address, timeout=TIMEOUT)
        self.socket.setblocking(True)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for limit in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            self.socket.setsockopt(socket.SOL_SOCKET, limit, struct.pack("ll", TIMEOUT, 0))
        self.sent = 0
        self._unread = bytearray()

    def send(self, data: bytes, *, more: bool = False) -> Exchange:
        """Send `data`; with `more` the kernel delays it until more data is sent."""
        while data:
            try:
                data = data[self.socket.send(data, socket.MSG_MORE if more else 0) :]
            except BlockingIOError:
                yield WRITE

    def send_file(self, source: int, offset: int, size: int) -> Exchange:
        """Send `size` bytes at `offset` of a file, and add them to `sent`."""
        end = offset + size
        while offset < end:
            try:
                count = os.sendfile(self.socket.fileno(), source, offset, end - offset)
            except BlockingIOError:
                yield WRITE
                continue
            if not count:
                raise RuntimeError("the source file has been truncated")
            offset += count
            self.sent += count

    def response(self) -> Generator[int, None, dict[str, str]]:
        """Receive an HTTP response; returns its header fields.

        Raises RuntimeError unless the status is 101, 200, 201 or 204.
        """
        head = yield from self._until(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").splitlines()
        if status.split(" ")[1] not in ("101", "200", "201", "204"):
            raise RuntimeError(status)
        fields = dict(line.lower().split(": ", 1) for line in lines if line)
        if fields.get("transfer-encoding") == "chunked":
            yield from self._until(b"0\r\n\r\n")
        else:
            yield from self._take(int(fields.get("content-length", "0")))
        return fields

    def wait_for_data(self) -> Exchange:
        """Wait until data has arrived, and leave it in the buffer."""
        while not self._unread:
            yield from self._more()

    def _until(self, mark: bytes) -> Generator[int, None, bytes]:
        while (end := self._unread.find(mark)) < 0:
            yield from self._more()
        return (yield from self._take(end + len(mark)))

    def _take(self, length: int) -> Generator[int, None, bytes]:
        while len(self._unread) < length:
            yield from self._more()
        taken = bytes(self._unread[:length])
        del self._unread[:length]
        return taken

    def signal(self) -> Generator[int, None, dict[str, Any]]:
        """Receive a signal of GalileoSend: a JSON object in a TEXT frame."""
        opcode, length = yield from self._take(2)
        if opcode != 0x81:
            raise RuntimeError(f"the frame is not a signal: opcode {opcode & 0x0F}")
        if length == 126:
            length = int.from_bytes((yield from self._take(2)))
        signal = json.loads((yield from self._take(length)))
        if not isinstance(signal, dict):
            raise TypeError(signal)
        return signal

    def _more(self) -> Exchange:
        yield READ
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionError("the server closed the connection")
        self._unread += data

    def until_end(self) -> Exchange:
        """Wait until the server has closed the connection."""
        yield READ
        while self.socket.recv(65536):
            yield READ


def header(opcode: int, length: int) -> bytes:
    """A frame header with the masking key 0."""
    if length < 126:
        return struct.pack("!BB4x", 0x80 | opcode, 0x80 | length)
    if length < 1 << 16:
        return struct.pack("!BBH4x", 0x80 | opcode, 0xFE, length)
    return struct.pack("!BBQ4x", 0x80 | opcode, 0xFF, length)


def text(signal: dict[str, object]) -> bytes:
    """A signal as a frame."""
    data = json.dumps(signal).encode()
    return header(1, len(data)) + data


def upgrade(connection: Connection) -> Exchange:
    """Upgrade the connection to WebSocket."""
    yield from connection.send(UPGRADE)
    yield from connection.response()


def send_metadata(connection: Connection, part: Part) -> Exchange:
    """Send the metadata of an upload, and wait for the first signal of the server."""
    yield from connection.send(text({"name": part.name, "size": part.size}))
    yield from connection.wait_for_data()


def send_part(connection: Connection, part: Part) -> Exchange:
    """Send the data of an upload, up to the `close` signal. Raises RuntimeError for an error."""
    offset, end = part.offset, part.offset + part.size
    while True:
        signal = yield from connection.signal()
        if signal.get("close"):
            return
        if not signal.get("ready"):
            raise RuntimeError(signal)
        if offset == end:
            claim = {"type": "sha1", "value": part.sha1}
            yield from connection.send(text({"finished": True, "hash": claim}))
            continue
        length = min(int(signal.get("chunksize") or CHUNK), end - offset)
        yield from connection.send(header(2, length), more=True)
        yield from connection.send_file(part.source, offset, length)
        offset += length


def galileosend(connection: Connection, part: Part) -> Exchange:
    """An upload with GalileoSend, including the upgrade."""
    yield from upgrade(connection)
    yield from send_metadata(connection, part)
    yield from send_part(connection, part)


def close_websocket(connection: Connection) -> Exchange:
    """Send a Close frame, and wait until the server has closed the connection."""
    yield from connection.send(header(8, 2) + struct.pack("!H", 1000))
    yield from connection.until_end()


def put(connection: Connection, part: Part) -> Exchange:
    """An HTTP PUT."""
    head = f"PUT /{part.name} HTTP/1.1\r\nHost: bench\r\nContent-Length: {part.size}\r\n\r\n"
    yield from connection.send(head.encode(), more=True)
    yield from connection.send_file(part.source, part.offset, part.size)
    yield from connection.response()


def tus(connection: Connection, part: Part) -> Exchange:
    """A tus upload: a POST that creates it, and one PATCH with all data."""
    common = "Host: bench\r\nTus-Resumable: 1.0.0\r\n"
    create = f"POST /files HTTP/1.1\r\n{common}Upload-Length: {part.size}\r\n"
    yield from connection.send(f"{create}Content-Length: 0\r\n\r\n".encode())
    fields = yield from connection.response()
    path = fields["location"].partition("//")[2].partition("/")[2]
    patch = f"PATCH /{path} HTTP/1.1\r\n{common}Upload-Offset: 0\r\n"
    kind = "Content-Type: application/offset+octet-stream\r\n"
    yield from connection.send(
        f"{patch}{kind}Content-Length: {part.size}\r\n\r\n".encode(), more=part.size > 0
    )
    yield from connection.send_file(part.source, part.offset, part.size)
    yield from connection.response()


def run_blocking(exchange: Exchange) -> None:
    """Run an exchange on a blocking socket to its end."""
    for wanted in exchange:
        if wanted == WRITE:  # on a blocking socket only after TIMEOUT
            raise TimeoutError("the server does not receive data")


class EventLoop:
    """Runs many exchanges in one thread."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()

    def add(self, connection: Connection, exchange: Exchange) -> None:
        """Add an exchange that has not begun."""
        connection.socket.setblocking(False)
        self._selector.register(connection.socket, READ | WRITE, (connection, exchange))

    def finished(self) -> Iterator[Connection]:
        """Yield each connection when its exchange has ended. Others may be added meanwhile."""
        with self._selector:
            while self._selector.get_map():
                ready = self._selector.select(TIMEOUT)
                if not ready:
                    raise TimeoutError(f"no progress within {TIMEOUT} seconds")
                for key, _ in ready:
                    connection, exchange = key.data
                    wanted = next(exchange, 0)
                    if not wanted:
                        self._selector.unregister(connection.socket)
                        yield connection
                    elif wanted != key.events:
                        self._selector.modify(connection.socket, wanted, key.data)
