"""A client that resumes, one step at a time, over the websockets library and a plain socket."""

import hashlib
import secrets
import socket
import sqlite3
import struct
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

from attrs import define, evolve, field
from helpers.clients import DEFAULT_CHUNK, Signal, hear, open_websocket, say, unique_name
from helpers.daemon import DEADLINE, Daemon
from helpers.frames import BINARY, MASK, frame_header
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.sync.client import ClientConnection

CAN: Final = ("resume",)


def sha1(data: bytes) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


class EndedError(AssertionError):
    """The server has ended an upload, with `signal`, that was to go on."""

    def __init__(self, signal: Signal) -> None:
        super().__init__(signal)
        self.signal = signal


@define
class Attempt:
    """One connection of an upload; `first` is the server's first signal."""

    websocket: ClientConnection
    data: bytes
    first: Signal
    offset: int = 0
    _credits: list[int] = field(factory=list)
    _errors: list[Signal] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.offset = self.first.get("offset", 0)
        self._note(self.first)

    def _note(self, signal: Signal) -> None:
        if signal.get("ready"):
            self._credits.append(signal.get("chunksize", DEFAULT_CHUNK))

    def send(self, until: int) -> None:
        """Answer each `ready` until `until` bytes of the file were sent."""
        while self.offset < until:
            while not self._credits:
                signal = hear(self.websocket)
                if not signal.get("ready"):
                    raise EndedError(signal)
                self._note(signal)
            chunk = self.data[self.offset : min(until, self.offset + self._credits.pop(0))]
            self.websocket.send(chunk)
            self.offset += len(chunk)

    def send_until_failed(self) -> Signal:
        """Send the rest of the file; returns the fatal error that comes meanwhile."""
        while True:
            while self._credits and self.offset < len(self.data):
                chunk = self.data[self.offset : self.offset + self._credits.pop(0)]
                try:
                    self.websocket.send(chunk)
                except ConnectionClosed:
                    break  # what the server said before is still to be read
                self.offset += len(chunk)
            signal = hear(self.websocket)
            if signal.get("fatal"):
                return signal
            self._note(signal)

    def send_all(self) -> Signal:
        """Send the rest and `finished`; returns the signal that ends the upload, however."""
        finished = False
        while True:
            if self.offset == len(self.data) and not finished:
                say(self.websocket, finished=True, hash=self.hash())
                finished = True
            while self._credits and self.offset < len(self.data):
                chunk = self.data[self.offset : self.offset + self._credits.pop(0)]
                self.websocket.send(chunk)
                self.offset += len(chunk)
            if self.offset < len(self.data) or finished:
                signal = hear(self.websocket)
                if signal.get("close") or signal.get("fatal"):
                    return signal
                self._note(signal)

    def send_part_of_chunk(self, length: int) -> None:
        """Send the header of a whole chunk, and only its first `length` bytes."""
        chunk = self.data[self.offset : self.offset + self._credits.pop(0)]
        assert length < len(chunk)
        masked = bytes(byte ^ MASK[at % 4] for at, byte in enumerate(chunk[:length]))
        self.websocket.socket.sendall(frame_header(0x80 | BINARY, len(chunk)) + masked)

    def cut(self) -> None:
        """End the connection without a Close frame, so that all that was sent arrives."""
        self.websocket.socket.shutdown(socket.SHUT_WR)
        try:
            while True:
                self.websocket.recv(DEADLINE)
        except ConnectionClosed:
            pass  # the server has read up to the end

    def reset(self) -> None:
        """Break the connection off at once."""
        sock = self.websocket.socket
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.shutdown(socket.SHUT_RDWR)

    def finish(self, **more: object) -> Signal:
        """Send what is left and `finished`; returns the signal that ends the upload."""
        self.send(len(self.data))
        say(self.websocket, **{"finished": True, "hash": self.hash(), **more})
        return self.last()

    def hash(self) -> dict[str, str]:
        return {"type": "sha1", "value": sha1(self.data)}

    def last(self) -> Signal:
        """The signal that ends the upload."""
        while not ((signal := hear(self.websocket)).get("close") or signal.get("fatal")):
            pass
        return signal


@define
class ResumingClient:
    """One upload over several connections, all with the same key."""

    url: str
    data: bytes
    name: str = field(factory=unique_name)
    key: str = field(factory=lambda: secrets.token_hex(16))
    more: dict[str, Any] = field(factory=dict)
    can: Sequence[str] = CAN

    @contextmanager
    def attempt(self, **options: Any) -> Iterator[Attempt]:  # noqa: ANN401
        """Connect, send the metadata, and hear the first signal."""
        with open_websocket(self.url, **options) as websocket:
            self.introduce(websocket)
            try:
                yield Attempt(websocket, self.data, hear(websocket))
            except ConnectionClosed:
                raise AssertionError("the server has closed the connection") from None

    def introduce(self, websocket: ClientConnection, **more: object) -> None:
        """Send the metadata."""
        metadata = {
            "name": self.name,
            "size": len(self.data),
            "modified": 1_768_300_000_000,
            "upload": self.key,
            "can": list(self.can),
            **self.more,
            **more,
        }
        say(websocket, **metadata)

    def stored(self, **more: object) -> Signal:
        """The signal that the file is stored under its own name."""
        return {"close": True, "path": self.name, **more}

    def at(self, url: str) -> "ResumingClient":
        """The same client, after the server has moved to another address."""
        return evolve(self, url=url)


def ledger_of(daemon: Daemon) -> Path:
    return daemon.directory / ".galileod" / "ledger.sqlite3"


def change_ledger(daemon: Daemon, statement: str, *values: object) -> None:
    """Change the ledger of a daemon that does not run."""
    with closing(sqlite3.connect(ledger_of(daemon))) as connection:
        connection.execute(statement, values)
        connection.commit()


def read_ledger(daemon: Daemon, statement: str, *values: object) -> list[tuple[Any, ...]]:
    """Read the ledger of a daemon that does not run."""
    with closing(sqlite3.connect(ledger_of(daemon))) as connection:
        return connection.execute(statement, values).fetchall()


def push(client: ResumingClient) -> str:
    """One connection, as far as it gets; returns "stored", "lost", or the code of the fault."""
    try:
        with open_websocket(client.url) as websocket:
            client.introduce(websocket)
            attempt = Attempt(websocket, client.data, first := hear(websocket))
            if not first.get("ready"):
                return "stored" if first.get("close") else str(first["code"])
            last = attempt.finish()
            return "stored" if last.get("close") else str(last["code"])
    except (OSError, EOFError, WebSocketException, AssertionError):
        return "lost"  # no daemon to talk to, or it died
