"""Many files on one connection, sent in one go, by a client that shares no code with the daemon."""

import base64
import hashlib
import json
import os
import select
import socket
from collections.abc import Iterable
from typing import Any, Protocol

from attrs import define, field
from helpers.frames import BINARY, CLOSE, TEXT, frame, signal_frame

Signal = dict[str, Any]


class Reachable(Protocol):
    """Where clients connect to: a daemon, or what stands before several."""

    @property
    def url(self) -> str:
        """The URL for WebSocket clients."""

    def dial(self) -> socket.socket:
        """A plain connection."""

    def text(self) -> str:
        """What the daemon has logged."""


def key_of(name: str) -> str:
    """A key for the upload of this file."""
    return hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()


def whole_file(name: str, data: bytes, **more: object) -> bytes:
    """A file that is sent whole, as frames."""
    body = frame(BINARY, data) if data else b""
    sha1 = hashlib.sha1(data, usedforsecurity=False).hexdigest()
    return (
        signal_frame(name=name, size=len(data), **more)
        + body
        + signal_frame(finished=True, hash={"type": "sha1", "value": sha1})
    )


@define(eq=False)
class Burst:
    """A connection with `next`. File 0 is an empty one named `first`."""

    daemon: Reachable
    first: str
    more: dict[str, object] = field(factory=dict)
    can: tuple[str, ...] = ("next", "resume")
    answers: dict[int, Signal] = field(init=False, factory=dict)
    others: list[Signal] = field(init=False, factory=list)
    """Signals about no file, and those that grant something."""
    sent: int = field(init=False, default=0)
    _socket: socket.socket = field(init=False)
    _buffer: bytearray = field(init=False, factory=bytearray)

    def __attrs_post_init__(self) -> None:
        self._socket = self.daemon.dial()
        try:
            self._introduce()
        except BaseException:
            self._socket.close()
            raise

    def _introduce(self) -> None:
        key = base64.b64encode(os.urandom(16)).decode()
        self.send(
            f"GET /upload HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
        )
        while b"\r\n\r\n" not in self._buffer:
            if not self._read():
                raise ConnectionError("the daemon has ended")
        del self._buffer[: self._buffer.index(b"\r\n\r\n") + 4]
        key = key_of(self.first)
        self.send(signal_frame(name=self.first, size=0, can=self.can, upload=key, **self.more))
        self.start = self.next_signal()

    start: Signal | None = field(init=False, default=None)
    """The first signal."""

    def begin(self) -> bool:
        """Have file 0 stored; False if the connection has ended before that."""
        if self.start is None:
            return False
        assert self.start.get("ready"), self.start
        self.send(signal_frame(finished=True))
        signal = self.next_signal()
        assert signal is None or signal.get("close"), signal
        return signal is not None

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def send_whole(self, name: str, data: bytes, **more: object) -> int:
        """Send a file; returns its number."""
        self.sent += 1
        self.send(whole_file(name, data, **more))
        return self.sent

    def send_metadata(self, name: str, size: int, **more: object) -> int:
        """Begin a file that is not sent whole; returns its number."""
        self.sent += 1
        self.send(signal_frame(name=name, size=size, **more))
        return self.sent

    def next_signal(self) -> Signal | None:
        """The next signal; None at the end."""
        while True:
            while (got := self._take()) is None:
                if not self._read():
                    return None
            opcode, payload = got
            if opcode == CLOSE:
                return None
            if opcode == TEXT:
                signal: Signal = json.loads(payload)
                return signal

    def hear(self) -> bool:
        """Take in one signal; False at the end."""
        signal = self.next_signal()
        if signal is None:
            return False
        if "file" not in signal or signal.get("ready"):
            self.others.append(signal)
        else:
            assert signal["file"] not in self.answers, signal
            self.answers[signal["file"]] = signal
        return True

    def hear_now(self) -> bool:
        """Take in what has come; False at the end."""
        while self._next_payload() or select.select([self._socket], [], [], 0)[0]:
            if not self.hear():
                return False
        return True

    def hear_all(self, numbers: Iterable[int]) -> None:
        """Hear the answers to these files."""
        while set(numbers) - self.answers.keys():
            assert self.hear(), (set(numbers) - self.answers.keys(), self.others)

    def close(self) -> None:
        """Cut the connection."""
        self._socket.close()

    def _read(self) -> bool:
        try:
            data = self._socket.recv(1 << 16)
        except ConnectionError:
            return False
        self._buffer += data
        return bool(data)

    def _take(self) -> tuple[int, bytes] | None:
        place = self._next_payload()
        if place is None:
            return None
        start, length = place
        payload = bytes(self._buffer[start : start + length])
        opcode = self._buffer[0] & 0x0F
        del self._buffer[: start + length]
        return opcode, payload

    def _next_payload(self) -> tuple[int, int] | None:
        """Where the payload of the next frame is, and its length; None if it is not complete."""
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        length, start = buffer[1], 2
        if length == 126:
            length, start = int.from_bytes(buffer[2:4]), 4
        elif length == 127:
            length, start = int.from_bytes(buffer[2:10]), 10
        return (start, length) if len(buffer) >= start + length else None
