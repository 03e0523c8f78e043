"""What a client says to each kind of server, at next to no cost to itself.

A conversation is a generator that yields READ or WRITE where it waits for its socket. On a blocking
socket `drive` runs it to its end; in a `Crowd` many take turns in one thread. File data goes from
the source to the socket with sendfile. For that, WebSocket frames are masked with the key 0, which
is a legal one: the server cannot tell, and unmasks all the same.
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
Talk = Generator[int, None, None]

CHUNK = 250_000
"""Bytes that the original's clients send where a `ready` names no size."""

PATIENCE = 60
"""Seconds without any progress after which a conversation has failed."""

UPGRADE = (
    b"GET /upload HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


@dataclass(frozen=True)
class Part:
    """What one upload sends: `size` bytes from `offset` on of the descriptor `source`."""

    name: str
    source: int
    offset: int
    size: int
    sha1: str


class Line:
    """A connection, with what came and was not looked at yet."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address, timeout=PATIENCE)
        self.socket.setblocking(True)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for limit in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            self.socket.setsockopt(socket.SOL_SOCKET, limit, struct.pack("ll", PATIENCE, 0))
        self.sent = 0
        self._unread = bytearray()

    def send(self, data: bytes, *, more: bool = False) -> Talk:
        """Send `data`; with `more` it leaves together with what follows."""
        while data:
            try:
                data = data[self.socket.send(data, socket.MSG_MORE if more else 0) :]
            except BlockingIOError:
                yield WRITE

    def send_file(self, source: int, offset: int, size: int) -> Talk:
        """Send a stretch of a file, counted in `sent`."""
        end = offset + size
        while offset < end:
            try:
                count = os.sendfile(self.socket.fileno(), source, offset, end - offset)
            except BlockingIOError:
                yield WRITE
                continue
            if not count:
                raise RuntimeError("the source is shorter than it was")
            offset += count
            self.sent += count

    def response(self) -> Generator[int, None, dict[str, str]]:
        """The fields of an HTTP response. Raises RuntimeError if that is no success."""
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

    def something(self) -> Talk:
        """Wait until something has come, and leave it."""
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
        """A signal of GalileoSend: a JSON object in a TEXT frame."""
        opcode, length = yield from self._take(2)
        if opcode != 0x81:
            raise RuntimeError(f"a frame that is no signal: opcode {opcode & 0x0F}")
        if length == 126:
            length = int.from_bytes((yield from self._take(2)))
        signal = json.loads((yield from self._take(length)))
        if not isinstance(signal, dict):
            raise TypeError(signal)
        return signal

    def _more(self) -> Talk:
        yield READ
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionError("the server closed the connection")
        self._unread += data

    def until_end(self) -> Talk:
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


def upgrade(line: Line) -> Talk:
    """Become a WebSocket."""
    yield from line.send(UPGRADE)
    yield from line.response()


def name_part(line: Line, part: Part) -> Talk:
    """The beginning of GalileoSend, up to where the server has asked for something."""
    yield from line.send(text({"name": part.name, "size": part.size}))
    yield from line.something()


def send_part(line: Line, part: Part) -> Talk:
    """The rest, up to the `close` signal. Raises RuntimeError for any other end."""
    offset, end = part.offset, part.offset + part.size
    while True:
        signal = yield from line.signal()
        if signal.get("close"):
            return
        if not signal.get("ready"):
            raise RuntimeError(signal)
        if offset == end:
            claim = {"type": "sha1", "value": part.sha1}
            yield from line.send(text({"finished": True, "hash": claim}))
            continue
        length = min(int(signal.get("chunksize") or CHUNK), end - offset)
        yield from line.send(header(2, length), more=True)
        yield from line.send_file(part.source, offset, length)
        offset += length


def galileosend(line: Line, part: Part) -> Talk:
    """An upload over GalileoSend, with its upgrade."""
    yield from upgrade(line)
    yield from name_part(line, part)
    yield from send_part(line, part)


def goodbye(line: Line) -> Talk:
    """Close a WebSocket in order."""
    yield from line.send(header(8, 2) + struct.pack("!H", 1000))
    yield from line.until_end()


def put(line: Line, part: Part) -> Talk:
    """An HTTP PUT."""
    head = f"PUT /{part.name} HTTP/1.1\r\nHost: bench\r\nContent-Length: {part.size}\r\n\r\n"
    yield from line.send(head.encode(), more=True)
    yield from line.send_file(part.source, part.offset, part.size)
    yield from line.response()


def tus(line: Line, part: Part) -> Talk:
    """A tus upload: created, then sent in one piece."""
    common = "Host: bench\r\nTus-Resumable: 1.0.0\r\n"
    create = f"POST /files HTTP/1.1\r\n{common}Upload-Length: {part.size}\r\n"
    yield from line.send(f"{create}Content-Length: 0\r\n\r\n".encode())
    fields = yield from line.response()
    path = fields["location"].partition("//")[2].partition("/")[2]
    patch = f"PATCH /{path} HTTP/1.1\r\n{common}Upload-Offset: 0\r\n"
    kind = "Content-Type: application/offset+octet-stream\r\n"
    yield from line.send(
        f"{patch}{kind}Content-Length: {part.size}\r\n\r\n".encode(), more=part.size > 0
    )
    yield from line.send_file(part.source, part.offset, part.size)
    yield from line.response()


def drive(talk: Talk) -> None:
    """Run a conversation on a blocking socket to its end."""
    for wanted in talk:
        if wanted == WRITE:  # which a blocking socket asks for after PATIENCE only
            raise TimeoutError("the server takes no data")


class Crowd:
    """Conversations that take turns in one thread."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()

    def add(self, line: Line, talk: Talk) -> None:
        """Let a conversation take part, from its beginning."""
        line.socket.setblocking(False)
        self._selector.register(line.socket, READ | WRITE, (line, talk))

    def finished(self) -> Iterator[Line]:
        """Each line whose conversation has come to its end, as it does; others may be added."""
        with self._selector:
            while self._selector.get_map():
                ready = self._selector.select(PATIENCE)
                if not ready:
                    raise TimeoutError(f"no server answered for {PATIENCE} seconds")
                for key, _ in ready:
                    line, talk = key.data
                    wanted = next(talk, 0)
                    if not wanted:
                        self._selector.unregister(line.socket)
                        yield line
                    elif wanted != key.events:
                        self._selector.modify(line.socket, wanted, key.data)
