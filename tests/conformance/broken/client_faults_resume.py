"""Clients with a fault in resuming.

The docstring of a class says what it does wrong.
"""

import secrets
import time
from typing import Any, Final

from conformance.broken.client_peer import (
    RETRY_RESUMABLE,
    FailedError,
    LostError,
    Signal,
    Uploader,
)
from conformance.broken.registry import registrar

FAULTS: Final[dict[str, type[Uploader]]] = {}

SAMPLE_KEY = "dGhlIHNhbXBsZSBub25jZQ=="


fault = registrar(FAULTS)


# Resuming


@fault("offset-unagreed")
class OffsetUnagreed(Uploader):
    """Continues at `offset` also if the server does not state `resume`."""

    def on_ready(self, signal: Signal) -> None:
        if not self.begun and not self.resumes() and "offset" in signal:
            self.resume(signal)
        super().on_ready(signal)


@fault("any-can-agrees")
class AnyCanAgrees(Uploader):
    """Takes `resume` as agreed if the server states any `can`, also an empty one."""

    def agree(self, signal: Signal, kind: str) -> None:
        super().agree({**signal, "can": ["resume"]} if "can" in signal else signal, kind)


@fault("key-per-attempt")
class KeyPerAttempt(Uploader):
    """Makes a new key for each attempt."""

    def metadata(self) -> Signal:
        self.key = secrets.token_hex(16)
        return super().metadata()


@fault("modified-is-now")
class ModifiedIsNow(Uploader):
    """Sends the time of the attempt as `modified`, so it changes with each."""

    def metadata(self) -> Signal:
        self.modified = time.time_ns() // 1_000_000
        return super().metadata()


@fault("short-key")
class ShortKey(Uploader):
    """Makes the key of 16 hexadecimal digits."""

    def metadata(self) -> Signal:
        return {**super().metadata(), "upload": self.key[:16]}


@fault("own-count-over-offset")
class OwnCountOverOffset(Uploader):
    """Continues behind what it has sent, even if `offset` is less."""

    sent = 0

    def send_chunk(self, limit: int) -> None:
        super().send_chunk(limit)
        self.sent = max(self.sent, self.offset)

    def check_offset(self, offset: object) -> int:
        return max(super().check_offset(offset), self.sent)


@fault("offset-may-not-fall")
class OffsetMayNotFall(Uploader):
    """Fails if `offset` is less than at an earlier attempt."""

    highest = 0

    def check_offset(self, offset: object) -> int:
        checked = super().check_offset(offset)
        if checked < self.highest:
            raise FailedError("the server has lost data")
        self.highest = checked
        return checked


@fault("offset-converted")
class OffsetConverted(Uploader):
    """Converts `offset` to an integer: takes `1000.5` and `"1000"`."""

    def check_offset(self, offset: object) -> int:
        try:
            return super().check_offset(int(offset) if isinstance(offset, (str, float)) else offset)
        except (ValueError, OverflowError):
            return super().check_offset(offset)


@fault("offset-clamped")
class OffsetClamped(Uploader):
    """Takes an `offset` beyond the file for its end."""

    def check_offset(self, offset: object) -> int:
        if isinstance(offset, int) and not isinstance(offset, bool):
            return min(max(offset, 0), self.size)
        return super().check_offset(offset)


@fault("hash-of-rest")
class HashOfRest(Uploader):
    """Sends the hash of what it has sent on the last connection."""

    compares = False

    def hash_skipped(self) -> None:
        pass


@fault("hash-goes-on")
class HashGoesOn(Uploader):
    """Continues the hash of the last connection, so bytes that it sends again count twice."""

    compares = False
    kept: Any = None

    def hash_skipped(self) -> None:
        if self.kept is None or not self.offset:
            super().hash_skipped()
        else:
            self.digest = self.kept

    def send_chunk(self, limit: int) -> None:
        super().send_chunk(limit)
        self.kept = self.digest


@fault("first-close-fails")
class FirstCloseFails(Uploader):
    """Fails if `close` is the first signal of an attempt, although `resume` is agreed."""

    def on_close(self, signal: Signal) -> str:
        if not self.finished:
            raise FailedError("the server sent `close` before `finished`")
        return super().on_close(signal)


@fault("retry-taken-over")
class RetryTakenOver(Uploader):
    """Tries again after `taken_over`."""

    retry_resumable = RETRY_RESUMABLE | {"taken_over"}


@fault("retry-hash-mismatch")
class RetryHashMismatch(Uploader):
    """Tries again after `hash_mismatch` and `size_mismatch`, where `resume` is agreed."""

    retry_resumable = RETRY_RESUMABLE | {"hash_mismatch", "size_mismatch"}


@fault("retry-while-kept")
class RetryAllKept(Uploader):
    """Tries again after every error after which the server keeps the upload, such as `no_space`."""

    def on_error(self, signal: Signal) -> None:
        if self.resumes() and self.is_fatal(signal) and self.truthy(signal.get("kept")):
            raise LostError(str(signal["error"]))
        super().on_error(signal)
