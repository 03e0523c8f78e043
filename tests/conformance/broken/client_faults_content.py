"""Clients with a fault in credits, chunks or the end of the file.

The docstring of a class says what it does wrong.
"""

import base64
import socket
from typing import Final, NoReturn

from conformance.broken.client_peer import (
    CHUNK,
    FailedError,
    LostError,
    Signal,
    Uploader,
)
from conformance.broken.registry import registrar
from websockets.exceptions import ConnectionClosed

FAULTS: Final[dict[str, type[Uploader]]] = {}

SAMPLE_KEY = "dGhlIHNhbXBsZSBub25jZQ=="


fault = registrar(FAULTS)


# Credits


@fault("chunksize-ignored")
class ChunksizeIgnored(Uploader):
    """Sends 250,000 bytes for each credit, whatever its `chunksize` is."""

    def limit(self, signal: Signal) -> int:
        del signal
        return CHUNK


@fault("largest-chunksize")
class LargestChunksize(Uploader):
    """Sends chunks of the largest `chunksize` so far, also for a credit that permits less."""

    largest = 0

    def limit(self, signal: Signal) -> int:
        self.largest = max(self.largest, super().limit(signal))
        return self.largest


@fault("mebibyte-default")
class MebibyteDefault(Uploader):
    """Sends chunks of 1 MiB if the server does not state a `chunksize`."""

    def limit(self, signal: Signal) -> int:
        return super().limit(signal) if signal.get("chunksize") else 1024 * 1024


@fault("chunksize-zero")
class ChunksizeZero(Uploader):
    """Takes `"chunksize": 0` for a credit of no bytes, and sends empty chunks."""

    def limit(self, signal: Signal) -> int:
        return 0 if signal.get("chunksize") == 0 else super().limit(signal)


class Gathering(Uploader):
    """Reads all signals that have arrived before it answers the first one."""

    def on_message(self, message: str | bytes) -> str | None:
        messages = [message]
        try:
            while True:
                messages.append(self.connection.recv(timeout=0.1))
        except (TimeoutError, ConnectionClosed):
            pass  # `receive` meets the end of the connection again
        for each in self.order(messages):
            stored = super().on_message(each)
            if stored is not None:
                return stored
        return None

    def order(self, messages: list[str | bytes]) -> list[str | bytes]:
        return messages

    def is_ready(self, message: str | bytes) -> bool:
        return isinstance(message, str) and '"ready"' in message


@fault("last-credit-first")
class LastCreditFirst(Gathering):
    """Keeps credits on a stack: uses the one that came last first."""

    def order(self, messages: list[str | bytes]) -> list[str | bytes]:
        if not all(self.is_ready(message) for message in messages):
            return messages
        first = 0 if self.begun else 1  # the first signal says where to begin
        return messages[:first] + messages[first:][::-1]


@fault("credits-merged")
class CreditsMerged(Gathering):
    """Remembers only that it may send, so several credits that arrive at once count as one."""

    def order(self, messages: list[str | bytes]) -> list[str | bytes]:
        ready = [message for message in messages if self.is_ready(message)]
        return ready[:1] + [message for message in messages if not self.is_ready(message)]


@fault("sixteen-credits")
class SixteenCredits(Gathering):
    """Fails if more than 16 credits arrive before it has answered the first one."""

    def order(self, messages: list[str | bytes]) -> list[str | bytes]:
        if len(messages) > 16:
            raise FailedError("too many credits")
        return messages


@fault("position-by-number")
class PositionByNumber(Uploader):
    """Reads each chunk at its number times the first `chunksize`, wrong if credits differ."""

    start = 0
    number = 0
    unit = 0

    def metadata(self) -> Signal:
        self.number = 0
        return super().metadata()

    def send_chunk(self, limit: int) -> None:
        if not self.number:
            self.start = self.offset
            self.unit = limit
        length = min(limit, self.size - self.offset)
        self.file.seek(self.start + self.number * self.unit)
        data = self.file.read(length).ljust(length, b"\0")
        self.number += 1
        self.digest.update(data)
        self.offset += length
        self.send(data)


# The end of the file


@fault("finished-with-last-chunk")
class FinishedWithLastChunk(Uploader):
    """Sends `finished` right behind the last chunk, without waiting for a `ready`."""

    def send_chunk(self, limit: int) -> None:
        super().send_chunk(limit)
        if self.offset == self.size:
            self.finish()


@fault("empty-file-unasked")
class EmptyFileUnasked(Uploader):
    """Sends `finished` of an empty file right behind the metadata."""

    def send(self, message: Signal | bytes) -> None:
        super().send(message)
        if isinstance(message, dict) and "name" in message and not self.size:
            self.finish()


@fault("hash-base64")
class HashBase64(Uploader):
    """Writes the hash in base64."""

    def hash_value(self) -> str:
        return base64.b64encode(self.digest.digest()).decode()


@fault("empty-file-hash")
class EmptyFileHash(Uploader):
    """Sends the empty string as the hash of an empty file."""

    def hash_value(self) -> str:
        return super().hash_value() if self.size else ""


@fault("surplus-ready-fails")
class SurplusReadyFails(Uploader):
    """Fails if a further `ready` arrives after `finished`."""

    def answer(self, signal: Signal) -> None:
        if self.finished:
            raise FailedError("a `ready` after `finished`")
        super().answer(signal)


@fault("last-chunk-again")
class LastChunkAgain(Uploader):
    """Sends the last bytes again for a `ready` after `finished`."""

    def answer(self, signal: Signal) -> None:
        if self.finished and self.size:
            self.offset = self.size - 1
            self.send(self.read(1))
            self.offset = self.size
        super().answer(signal)


@fault("close-frame-is-success")
class CloseFrameIsSuccess(Uploader):
    """Reports success if the server closes with 1000 after `finished`, without `close`."""

    def attempt(self) -> str:
        try:
            return super().attempt()
        except (FailedError, LostError):
            if self.finished and self.connection.close_code == 1000 and self.closed_by_server():
                return self.name()
            raise

    def closed_by_server(self) -> bool:
        return bool(self.connection.protocol.close_rcvd_then_sent)


@fault("lost-is-success")
class LostIsSuccess(Uploader):
    """Reports success if the connection is lost after `finished`."""

    def lost(self, end: ConnectionClosed) -> NoReturn:
        if self.finished:
            raise StoredError
        super().lost(end)

    def run(self) -> str:
        try:
            return super().run()
        except StoredError:
            return self.name()


class StoredError(Exception):
    """The file is taken to be stored."""


@fault("close-after-last-byte")
class CloseAfterLastByte(Uploader):
    """Reports success for a `close` that comes after the last byte, but before `finished`."""

    def on_close(self, signal: Signal) -> str:
        if self.begun and self.offset == self.size:
            self.finished = True
        return super().on_close(signal)


@fault("first-close-is-success")
class FirstCloseIsSuccess(Uploader):
    """Reports success for `close` as the first signal, also if `resume` is not agreed."""

    def on_close(self, signal: Signal) -> str:
        if not self.begun:
            self.finished = True
        return super().on_close(signal)


@fault("no-close-frame")
class NoCloseFrame(Uploader):
    """Closes the TCP connection after `close` or an error without a Close frame."""

    def close(self) -> None:
        try:
            self.connection.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # closed already


@fault("server-must-close")
class ServerMustClose(Uploader):
    """Waits for the server to close the connection after `close`, and fails if it does not."""

    def on_close(self, signal: Signal) -> str:
        stored = super().on_close(signal)
        try:
            self.connection.recv(timeout=4)
        except ConnectionClosed:
            return stored
        except TimeoutError:
            pass
        raise FailedError("the server has not closed the connection")
