"""A client without a fault: the core of the protocol, and `resume`."""

import hashlib
import json
import os
import secrets
import socket
import time
from typing import Any, NoReturn
from urllib.parse import urlsplit

from websockets.client import ClientProtocol
from websockets.datastructures import HeadersLike
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage, InvalidStatus
from websockets.frames import CloseCode
from websockets.sync.client import ClientConnection, connect

TRIES = 5
WAIT = 0.05  # seconds before another try
SILENCE = 60.0  # seconds without a signal
CHUNK = 250_000  # bytes, where the server leaves the choice
MAX_CHUNK = 4 * 1024 * 1024  # bytes, what is read into memory
MAX_SIGNAL = 64 * 1024
RETRY = frozenset({"busy", "shutting_down"})
RETRY_RESUMABLE = RETRY | {"idle", "too_slow", "storage_failed"}
RETRY_STATUS = (429, 502, 503, 504)
BROKEN_FRAMES = (CloseCode.PROTOCOL_ERROR, CloseCode.INVALID_DATA, CloseCode.MESSAGE_TOO_BIG)

Signal = dict[str, Any]


class FailedError(Exception):
    """The upload has failed for good."""


class LostError(Exception):
    """This attempt has failed, and another one may succeed."""


class Uploader:
    """One upload of one file, in up to TRIES connections."""

    max_signal = MAX_SIGNAL
    compares = True  # looks at `check`
    retry = RETRY
    retry_resumable = RETRY_RESUMABLE
    protocol: type[ClientProtocol] = ClientProtocol

    def __init__(self, url: str, path: str) -> None:
        self.url = url
        self.path = path
        status = os.stat(path)
        self.size = status.st_size
        self.modified = status.st_mtime_ns // 1_000_000
        self.key = secrets.token_hex(16)
        self.resumable = False  # `resume` was agreed on some connection
        self.doubts = 0  # first signals without `can` since then

    def run(self) -> str:
        """The name under which the file is stored."""
        for remaining in reversed(range(TRIES)):
            try:
                return self.attempt()
            except LostError as lost:
                if not remaining:
                    raise FailedError(str(lost)) from None
                time.sleep(WAIT)
        raise AssertionError

    # One connection

    def attempt(self) -> str:
        self.offset = 0
        self.digest = hashlib.sha1(usedforsecurity=False)
        self.agreed: list[Any] | None = None
        self.begun = False
        self.finished = False
        self.broken = False
        self.connection = self.open()
        try:
            with open(self.path, "rb") as self.file:
                self.send(self.metadata())
                while True:
                    stored = self.on_message(self.receive())
                    if stored is not None:
                        return stored
        except ConnectionClosed as end:
            self.lost(end)
        finally:
            self.close()

    def open(self) -> ClientConnection:
        protocol_class = self.protocol

        class Connection(ClientConnection):
            def handshake(
                self,
                additional_headers: HeadersLike | None = None,
                user_agent_header: str | None = None,
                timeout: float | None = None,
            ) -> None:
                # The library makes the protocol itself, so its class is set before the first byte.
                self.protocol.__class__ = protocol_class
                super().handshake(additional_headers, user_agent_header, timeout)

        address = urlsplit(self.url)
        try:
            # With a socket of its own, the library does not follow redirections.
            sock = socket.create_connection((address.hostname, address.port or 80), timeout=10)
            sock.settimeout(None)
            return connect(
                self.url,
                sock=sock,
                create_connection=Connection,
                compression=None,
                max_size=self.max_signal,
                max_queue=4096,
                ping_interval=None,
                close_timeout=1,
                legacy=True,
            )
        except InvalidStatus as error:
            if error.response.status_code in RETRY_STATUS:
                raise LostError(str(error)) from None
            raise FailedError(str(error)) from None
        except InvalidMessage as error:
            self.again_or_fail(f"no valid answer to the handshake: {error}")
        except (InvalidHandshake, ValueError) as error:
            raise FailedError(str(error)) from None
        except (OSError, EOFError) as error:
            self.again_or_fail(f"no connection: {error}")

    def close(self) -> None:
        self.connection.close()

    def receive(self) -> str | bytes:
        try:
            return self.connection.recv(timeout=SILENCE)
        except TimeoutError:
            self.again_or_fail("the server is silent")

    def send(self, message: Signal | bytes) -> None:
        if self.broken:
            return
        try:
            self.connection.send(message if isinstance(message, bytes) else json.dumps(message))
        except ConnectionClosed:
            # The reason may be among the messages that have arrived.
            self.broken = True

    def lost(self, end: ConnectionClosed) -> NoReturn:
        if end.sent is not None and end.rcvd is None and end.sent.code in BROKEN_FRAMES:
            raise FailedError(f"the server sent an invalid frame: {end}") from None
        if self.finished and not self.resumable:
            raise FailedError("the connection was lost: the file may be stored") from None
        self.again_or_fail(f"the connection was lost: {end}")

    def again_or_fail(self, reason: str) -> NoReturn:
        if self.resumable:
            raise LostError(reason) from None
        raise FailedError(reason) from None

    # Signals

    def metadata(self) -> Signal:
        return {
            "name": self.name(),
            "size": self.size,
            "modified": self.modified,
            "can": ["resume"],
            "upload": self.key,
        }

    def name(self) -> str:
        return os.path.basename(self.path)

    def truthy(self, value: object) -> bool:
        return not (value is None or value is False or value in (0, ""))

    def parse(self, message: str | bytes) -> Signal | None:
        """The signal, or None if it is to be ignored."""
        if isinstance(message, bytes):
            raise FailedError("the server sent a BINARY message")
        try:
            signal = json.loads(message)
        except (ValueError, RecursionError):
            raise FailedError("the server sent no JSON") from None
        if not isinstance(signal, dict):
            raise FailedError("the server sent no object")
        return signal

    def on_message(self, message: str | bytes) -> str | None:
        signal = self.parse(message)
        return None if signal is None else self.on_signal(signal)

    def on_signal(self, signal: Signal) -> str | None:
        """The name under which the file is stored, once it is."""
        kind = self.kind(signal)
        if kind is None or (self.broken and kind != "error"):
            return None
        if self.agreed is None:
            self.agree(signal, kind)
        if kind == "error":
            self.on_error(signal)
        elif kind == "ready":
            self.on_ready(signal)
        else:
            return self.on_close(signal)
        return None

    def kind(self, signal: Signal) -> str | None:
        return next(
            (key for key in ("error", "ready", "close") if self.truthy(signal.get(key))), None
        )

    def agree(self, signal: Signal, kind: str) -> None:
        can = signal.get("can")
        self.agreed = can if isinstance(can, list) else []
        if self.resumes():
            self.resumable = True
        elif self.resumable and kind == "ready" and self.doubts < 2:
            self.doubts += 1
            raise LostError("the server does not state that it resumes uploads")

    def resumes(self) -> bool:
        return self.agreed is not None and "resume" in self.agreed

    def on_error(self, signal: Signal) -> None:
        code = signal.get("code")
        if not self.is_fatal(signal):
            return
        reason = f"{code}: {signal['error']}"
        codes = self.retry_resumable if self.resumes() else self.retry
        if isinstance(code, str) and code in codes:
            raise LostError(reason)
        raise FailedError(reason)

    def is_fatal(self, signal: Signal) -> bool:
        return self.truthy(signal.get("fatal"))

    def on_close(self, signal: Signal) -> str:
        if not self.finished and not (self.resumes() and not self.begun):
            raise FailedError("the server sent `close` before `finished`")
        name = signal.get("name")
        return name if isinstance(name, str) else self.name()

    # Chunks

    def on_ready(self, signal: Signal) -> None:
        if not self.begun:
            self.begun = True
            if self.resumes():
                self.resume(signal)
        self.answer(signal)

    def resume(self, signal: Signal) -> None:
        self.offset = self.check_offset(signal.get("offset"))
        self.hash_skipped()
        check = signal.get("check") if self.compares else None
        if isinstance(check, dict) and str(check.get("type")).lower() == "sha1":
            value = check.get("value")
            if isinstance(value, str) and value.lower() != self.digest.hexdigest():
                self.begin_again()

    def check_offset(self, offset: object) -> int:
        if not isinstance(offset, int) or isinstance(offset, bool):
            raise FailedError("the offset is not an integer")
        if not 0 <= offset <= self.size:
            raise FailedError("the offset is not in the file")
        return offset

    def hash_skipped(self) -> None:
        self.file.seek(0)
        left = self.offset
        while left:
            block = self.file.read(min(left, MAX_CHUNK))
            if not block:
                raise FailedError("the file became shorter")
            self.digest.update(block)
            left -= len(block)

    def begin_again(self) -> NoReturn:
        self.send({"abandon": True})
        try:
            while True:
                signal = self.parse(self.receive())
                if signal is not None and self.kind(signal) == "error" and self.is_fatal(signal):
                    break
        except ConnectionClosed:
            pass  # a new key does not meet the old data
        self.key = secrets.token_hex(16)
        raise LostError("the server has other data")

    def answer(self, signal: Signal) -> None:
        limit = self.limit(signal)
        if self.offset < self.size:
            self.send_chunk(limit)
        elif not self.finished:
            self.finish()

    def limit(self, signal: Signal) -> int:
        limit = signal.get("chunksize")
        if type(limit) is not int or limit <= 0:
            limit = CHUNK
        return min(limit, MAX_CHUNK)

    def send_chunk(self, limit: int) -> None:
        data = self.read(min(limit, self.size - self.offset))
        self.digest.update(data)
        self.offset += len(data)
        self.send(data)

    def read(self, length: int) -> bytes:
        self.file.seek(self.offset)
        data = self.file.read(length)
        if len(data) < length:
            raise FailedError("the file became shorter")
        return data

    def finish(self) -> None:
        self.send({"finished": True, "hash": {"type": "sha1", "value": self.hash_value()}})
        self.finished = True

    def hash_value(self) -> str:
        return self.digest.hexdigest()
