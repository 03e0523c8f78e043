"""A connection of a benchmark's client, and what runs an exchange on it.

An exchange is a generator that yields READ or WRITE when it waits for its socket. `run_blocking`
runs one on a blocking socket; an `EventLoop` runs several in one thread.
"""

import json
import os
import re
import selectors
import socket
import struct
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
Exchange = Generator[int, None, None]

TIMEOUT = 60
"""Seconds without progress after which an exchange fails."""

PING = 0x89
"""The first byte of a Ping frame."""

FIELD = re.compile(r"\r\n([^:\r]+): ([^\r]*)")
"""A field of an HTTP response: its name and value."""


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
        self.unread = bytearray()
        """What was received and is not parsed yet."""

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
        head = (yield from self._until(b"\r\n\r\n")).decode("latin-1")
        if head[9:12] not in ("101", "200", "201", "204"):
            raise RuntimeError(head.splitlines()[0])
        fields = dict(FIELD.findall(head.lower()))
        if fields.get("transfer-encoding") == "chunked":
            yield from self._until(b"0\r\n\r\n")
        else:
            yield from self._take(int(fields.get("content-length", "0")))
        return fields

    def wait_for_data(self) -> Exchange:
        """Wait until data has arrived, and leave it in the buffer."""
        while not self.unread:
            yield from self._more()

    def _until(self, mark: bytes) -> Generator[int, None, bytes]:
        while (end := self.unread.find(mark)) < 0:
            yield from self._more()
        return (yield from self._take(end + len(mark)))

    def _take(self, length: int) -> Generator[int, None, bytes]:
        while len(self.unread) < length:
            yield from self._more()
        taken = bytes(self.unread[:length])
        del self.unread[:length]
        return taken

    def signal(self) -> Generator[int, None, dict[str, Any]]:
        """Receive a signal of GalileoSend: a JSON object in a TEXT frame; answers Pings."""
        opcode, length = yield from self._take(2)
        while opcode == PING:
            payload = yield from self._take(length)
            yield from self.send(struct.pack("!BB4x", 0x8A, 0x80 | length) + payload)
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
        self.unread += data

    def until_end(self) -> Exchange:
        """Wait until the server has closed the connection."""
        yield READ
        while self.socket.recv(65536):
            yield READ


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
