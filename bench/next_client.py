"""A client of `next` (docs/protocol.md, section 9) that takes almost no CPU time.

The frames of each file are made before the time begins. While the server reads, many files are
sent with one system call; answers are taken from everything that one call has received.
"""

import json
import os
import socket
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from clients import finished, header, send_content, text, upgrade
from connection import PING, READ, WRITE, Connection, Exchange, Part

AT_ONCE = 64
"""Files that are sent with one system call."""

RECEIVED = 256 * 1024
"""Bytes that are received with one system call, at most."""

TEXT, PONG = 0x81, 0xA
Signal = dict[str, Any]


@dataclass(frozen=True)
class Prepared:
    """A file, and what is sent if it is not the first of its connection."""

    part: Part
    frames: bytes


def prepare(part: Part) -> Prepared:
    """Make the frames of a file: metadata, content and `finished`."""
    metadata = text({"name": part.name, "size": part.size})
    content = os.pread(part.source, part.size, part.offset)
    chunk = header(2, part.size) + content if content else b""
    return Prepared(part, metadata + chunk + finished(part))


@dataclass
class Limits:
    """What the server permits; a further file may be sent when `admit` has taken it."""

    most: int = 0
    whole: int = 0
    room: int = 0
    open: int = 0
    under_way: int = 0

    def update(self, signal: Signal) -> None:
        """Take the limits that a signal states."""
        self.most = signal.get("next", self.most)
        self.whole = signal.get("whole", self.whole)
        self.room = signal.get("room", self.room)

    def admit(self, size: int) -> bool:
        """Count a further file as open, if it may be. Raises RuntimeError if it never may."""
        if size > self.whole:
            raise RuntimeError(f"the server takes at most {self.whole} bytes whole")
        if self.open == self.most or self.under_way + size > self.room:
            return False
        self.open += 1
        self.under_way += size
        return True

    def answered(self, size: int) -> None:
        """A further file is not open any more."""
        self.open -= 1
        self.under_way -= size


def send_files(connection: Connection, files: Sequence[Prepared]) -> Exchange:
    """Send all files on one connection, upgrade included, until each has its `close`.

    Run it in an EventLoop. Raises RuntimeError for an error, and if `next` is not agreed.
    """
    if not files:
        return
    yield from upgrade(connection)
    limits = yield from _send_first(connection, files[0].part)
    number, stored, outgoing = 1, 0, deque[memoryview]()
    while stored < len(files):
        while number < len(files) and limits.admit(files[number].part.size):
            outgoing.append(memoryview(files[number].frames))
            number += 1
        _send_some(connection.socket, outgoing)
        yield READ | WRITE if outgoing else READ
        _receive_some(connection)
        for opcode, data in take_frames(connection.unread):
            if opcode == PING:
                outgoing.append(memoryview(header(PONG, len(data)) + data))
                continue
            closed = _take(opcode, data, limits)
            stored += closed is not None
            if closed:
                limits.answered(files[closed].part.size)


def _send_first(connection: Connection, part: Part) -> Generator[int, None, Limits]:
    """Send the first file, up to `finished`."""
    metadata = {"name": part.name, "size": part.size, "can": ["next"]}
    yield from connection.send(text(metadata))
    first = yield from connection.signal()
    if first.get("ready") and "next" not in first.get("can", []):
        raise RuntimeError("the server does not support `next`")
    limits = Limits()
    limits.update(first)
    yield from send_content(connection, part, first)
    return limits


def _send_some(to: socket.socket, outgoing: deque[memoryview]) -> None:
    """Send what the socket takes at once."""
    while outgoing:
        try:
            sent = to.sendmsg(islice(outgoing, AT_ONCE))
        except BlockingIOError:
            return
        while sent:
            if sent < len(outgoing[0]):
                outgoing[0] = outgoing[0][sent:]
                break
            sent -= len(outgoing.popleft())


def _receive_some(connection: Connection) -> None:
    try:
        data = connection.socket.recv(RECEIVED)
    except BlockingIOError:
        return
    if not data:
        raise ConnectionError("the server closed the connection")
    connection.unread += data


def take_frames(unread: bytearray) -> Iterator[tuple[int, bytes]]:
    """Take all complete frames: the first byte of each, and its payload."""
    data, at = bytes(unread), 0
    while at + 2 <= len(data):
        start, length = at + 2, data[at + 1]
        if length == 126:
            start, length = at + 4, int.from_bytes(data[at + 2 : at + 4])
        if start + length > len(data):
            break
        yield data[at], data[start : start + length]
        at = start + length
    del unread[:at]


def _take(opcode: int, data: bytes, limits: Limits) -> int | None:
    """Take a signal; returns the number of the file if one is stored."""
    if opcode != TEXT:
        raise RuntimeError(f"the frame is not a signal: opcode {opcode & 0x0F}")
    signal = json.loads(data)
    if signal.get("error") or signal.get("last"):
        raise RuntimeError(signal)
    limits.update(signal)
    return int(signal.get("file", 0)) if signal.get("close") else None
