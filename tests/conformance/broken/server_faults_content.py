"""Servers with a fault in credits, chunks or the end of the file.

The docstring of a class says what it does wrong.
"""

import threading
import time
from math import ceil
from typing import Final

from conformance.broken.registry import registrar
from conformance.broken.server_peer import (
    HASHES,
    RefusalError,
    Session,
    Signal,
)
from conformance.broken.storage import Upload

FAULTS: Final[dict[str, type[Session]]] = {}

BLOCK = 4096


fault = registrar(FAULTS)


# Credits and chunks


@fault("credits-beyond-file")
class CreditsBeyondFile(Session):
    """Grants a whole chunk with each credit, also where fewer bytes of the file are left."""

    def grant(self) -> None:
        upload = self.current()
        if not self.missing(upload):
            super().grant()
            return
        while sum(self.credits) < self.missing(upload) and len(self.credits) < self.window:
            self.send_credit(self.chunk)


@fault("credits-before-offset")
class CreditsBeforeOffset(Session):
    """After resuming, grants credits for the size of the file rather than for what is missing."""

    arrived = 0

    def keep_chunk(self, upload: Upload, data: bytes) -> None:
        super().keep_chunk(upload, data)
        self.arrived += len(data)

    def grant(self) -> None:
        upload = self.current()
        if not self.missing(upload):
            super().grant()
            return
        while (left := upload.size - self.arrived - sum(self.credits)) > 0:
            if len(self.credits) == self.window:
                break
            self.send_credit(min(self.chunk, left))


@fault("counts-ready-by-size")
class CountsReadyBySize(Session):
    """Sends as many credits as the file has whole chunks, so short chunks leave it without one."""

    sent = 0
    total = 0

    def grant(self) -> None:
        upload = self.current()
        if not self.missing(upload):
            super().grant()
            return
        left = self.missing(upload) - sum(self.credits)
        if self.sent == 0:
            self.total = ceil(left / self.chunk)
        while self.sent < self.total and len(self.credits) < self.window and left > 0:
            self.sent += 1
            self.send_credit(min(self.chunk, left))
            left -= self.credits[-1]


@fault("chunk-number-as-position")
class ChunkNumberAsPosition(Session):
    """Writes each chunk at its number times the first `chunksize`, wrong after a short chunk."""

    start = 0
    number = 0
    first = 0

    def send_credit(self, size: int) -> None:
        self.first = self.first or size
        super().send_credit(size)

    def keep_chunk(self, upload: Upload, data: bytes) -> None:
        if not self.number:
            self.start = upload.received
            self.hashes = {kind: self.store.hasher(upload, kind) for kind in HASHES}
        self.store.write_at(upload, self.start + self.number * self.first, data)
        for digest in self.hashes.values():
            digest.update(data)
        upload.received += len(data)
        self.number += 1

    def content_hash(self, upload: Upload, kind: str) -> str:
        return self.hashes[kind].hexdigest() if self.number else super().content_hash(upload, kind)


@fault("chunk-size-unchecked")
class ChunkSizeUnchecked(Session):
    """Takes a chunk of any size as long as it does not exceed the file."""

    def take_credit(self, upload: Upload, data: bytes) -> None:
        if self.credits and len(data) <= self.missing(upload):
            self.credits.popleft()
            while sum(self.credits) > self.missing(upload) - len(data):
                self.credits.pop()
            return
        super().take_credit(upload, data)


@fault("surplus-cut-off")
class SurplusCutOff(Session):
    """Cuts off the bytes beyond the size of the file, and stores it."""

    def on_binary(self, data: bytes) -> None:
        super().on_binary(data[: self.missing(self.current())])


@fault("chunksize-float")
class ChunksizeFloat(Session):
    """Computes the size of the last chunk by division, and sends it as `1234.0`."""

    def send_credit(self, size: int) -> None:
        self.credits.append(size)
        stated = size if size == self.chunk else size / 1
        self.send({"ready": True, "chunksize": stated})


@fault("eighth-empty-chunk")
class EighthEmptyChunk(Session):
    """Refuses the eighth empty chunk of an upload."""

    max_empty = 7


@fault("last-empty-chunk-unanswered")
class LastEmptyChunkUnanswered(Session):
    """Sends no further `ready` for an empty chunk that comes after the last byte."""

    def on_empty(self, upload: Upload) -> None:
        if self.missing(upload):
            super().on_empty(upload)


@fault("empty-chunk-finishes")
class EmptyChunkFinishes(Session):
    """Takes an empty chunk after the last byte for the end, and stores the file."""

    def on_empty(self, upload: Upload) -> None:
        if self.missing(upload):
            super().on_empty(upload)
        else:
            self.finish(upload)


# The end of the file


@fault("close-before-stored")
class CloseBeforeStored(Session):
    """Sends `close` as soon as the hash is verified, and moves the file to its place later."""

    def finish(self, upload: Upload) -> None:
        self.send_close(upload.name, upload.name)

        def place() -> None:
            time.sleep(1)
            with self.store.lock:
                self.store.place(upload)

        threading.Thread(target=place, daemon=True).start()

    def release(self) -> None:
        if not self.over or self.upload is None or self.upload.key is not None:
            super().release()


@fault("all-bytes-suffice")
class AllBytesSuffice(Session):
    """Stores the file and sends `close` once all bytes have arrived, without `finished`."""

    def keep_chunk(self, upload: Upload, data: bytes) -> None:
        super().keep_chunk(upload, data)
        if not self.missing(upload):
            self.finish(upload)

    def grant(self) -> None:
        if not self.over:
            super().grant()


@fault("finished-ends-file")
class FinishedEndsFile(Session):
    """Takes `finished` for the end of the file, also before all bytes have arrived."""

    def on_finished(self, signal: Signal) -> None:
        upload = self.current()
        self.verify(upload, signal.get("hash"))
        self.finish(upload)


@fault("hash-value-case")
class HashValueCase(Session):
    """Compares the hexadecimal hash with regard to case."""

    def same_hash(self, actual: str, stated: str) -> bool:
        return actual == stated


@fault("hash-type-case")
class HashTypeCase(Session):
    """Knows `sha1` but not `SHA1`."""

    def normal_type(self, kind: str) -> str:
        return kind


@fault("unknown-hash-type")
class UnknownHashType(Session):
    """Stores the file unverified if it does not know the type of the hash."""

    def unknown_type(self, kind: str) -> None:
        pass


@fault("null-hash-refused")
class NullHashRefused(Session):
    """Refuses `"hash": null`, since it is no object."""

    def on_finished(self, signal: Signal) -> None:
        if "hash" in signal and signal["hash"] is None:
            raise RefusalError("bad_message", "The hash is not valid.")
        super().on_finished(signal)


@fault("empty-file-unverified")
class EmptyFileUnverified(Session):
    """Does not compare the hash of an empty file."""

    def verify(self, upload: Upload, stated: object) -> None:
        if upload.size:
            super().verify(upload, stated)


@fault("empty-file-missing")
class EmptyFileMissing(Session):
    """Creates the file with its first chunk, so an empty one is confirmed and never stored."""

    def finish(self, upload: Upload) -> None:
        if upload.size:
            super().finish(upload)
        else:
            self.send_close(upload.name, upload.name)


@fault("written-in-place")
class WrittenInPlace(Session):
    """Leaves the file under its name if the hash is wrong: it is stored before it is verified."""

    def verify(self, upload: Upload, stated: object) -> None:
        try:
            super().verify(upload, stated)
        except RefusalError:
            self.store.place(upload)
            raise


@fault("second-finished")
class SecondFinished(Session):
    """Answers a further `finished` after `close` with an error."""

    def linger(self) -> None:
        try:
            message = self.connection.recv(timeout=2)
        except TimeoutError:
            message = ""
        if self.close_code[0] == 1000 and isinstance(message, str) and "finished" in message:
            refused = RefusalError("bad_message", "The upload is finished already.")
            self.send(refused.signal)
        super().linger()
