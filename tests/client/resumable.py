"""A server that can resume, and loses connections where a test says so: real sockets, in threads.

What it says is made by the receiving role of the protocol.
"""

import hashlib
import threading
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Final, Self

from attrs import define, field, frozen
from helpers.receivers import CLOSE, TEXT, Peer, Scripted

from galileod.protocol.errors import Fault, FaultCode
from galileod.protocol.messages import Abandon, Finished, HashClaim, Metadata, Resumption
from galileod.protocol.receiver import AskFinished, UploadReceiver

KEEP: Final = 24 * 3600
RESUME: Final = frozenset({"resume"})
SHA1: Final = hashlib.sha1


@frozen
class Act:
    """How one connection goes; without anything it goes well.

    It is lost at `lost`: "metadata", "finished" (before the file is stored), or "close" (after
    that); or after so many bytes of the file in `after`, in mid-chunk too. With `code` the server
    says that error instead of losing the connection, and keeps what it has unless `kept` is False.
    `old`: the server cannot resume. `forgets` is how many of its bytes it has lost before; `check`
    replaces the hash of the others; `does` is called with the connection's number at `lost`.
    """

    lost: str = ""
    after: int | None = None
    code: FaultCode | None = None
    kept: bool = True
    old: bool = False
    forgets: int = 0
    check: str | None = None
    does: Callable[[], object] = lambda: None


@define
class Upload:
    """What the server has of an upload."""

    metadata: Metadata
    data: bytearray = field(factory=bytearray)
    stored: bool = False
    claim: HashClaim | None = None


class ResumableServer:
    """Goes through `acts`, one for each connection, and then does well."""

    def __init__(self, *acts: Act, chunk: int = 100_000, checks: bool = True) -> None:
        self.acts = list(acts)
        self.uploads: dict[str, Upload] = {}
        self.metadata: list[Metadata] = []  # of each connection
        self.offsets: list[int] = []
        self.stored: list[bytes] = []
        self.abandoned: list[str] = []
        self.received = 0  # bytes of files
        self._chunk = chunk
        self._checks = checks
        self._lock = threading.Lock()
        self._scripted = Scripted(self._serve)
        self.url = self._scripted.url
        self.port = self._scripted.port

    def __enter__(self) -> Self:
        self._scripted.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._scripted.__exit__(kind, error, trace)

    @property
    def connections(self) -> int:
        return self._scripted.connections

    @property
    def keys(self) -> list[str | None]:
        return [metadata.upload for metadata in self.metadata]

    def _serve(self, peer: Peer) -> None:
        peer.accept()
        opcode, payload = peer.read_frame()
        assert opcode == TEXT
        receiver = UploadReceiver(can=RESUME)
        metadata = receiver.receive_text(payload.decode())
        assert isinstance(metadata, Metadata)
        if metadata.abandon:
            self._abandon(peer, receiver, metadata)
            return
        with self._lock:
            act = self.acts.pop(0) if self.acts else Act()
        if act.old:
            receiver = UploadReceiver()
            receiver.receive_text(payload.decode())
        self.metadata.append(metadata)
        _Session(self, peer, receiver, act, self._chunk, checks=self._checks).run(metadata)

    def _abandon(self, peer: Peer, receiver: UploadReceiver, metadata: Metadata) -> None:
        assert metadata.upload is not None
        known = self.uploads.pop(metadata.upload, None)
        if known:
            assert known.metadata.size == metadata.size
            assert known.metadata.modified == metadata.modified
        self.abandoned.append(metadata.upload)
        fault = Fault(FaultCode.ABANDONED, "The client has abandoned the upload.")
        peer.frame(TEXT, receiver.fail(fault).encode())
        peer.goodbye()


class Lost(Exception):  # noqa: N818  the ordinary end of a connection
    """The connection is to be lost now."""


@define
class _Session:
    server: ResumableServer
    peer: Peer
    receiver: UploadReceiver
    act: Act
    chunk: int
    checks: bool
    _left: int | None = None

    def run(self, metadata: Metadata) -> None:
        self._left = self.act.after
        try:
            self._run(metadata)
        except Lost:
            self.act.does()
            if self.act.code is None:
                self.peer.reset()
                return
            kept = KEEP if self.act.kept else None
            fault = Fault(self.act.code, f"It is {self.act.code}.")
            if not self.act.kept and metadata.upload:
                self.server.uploads.pop(metadata.upload, None)
            self.peer.frame(TEXT, self.receiver.fail(fault, kept).encode())
            self.peer.frame(CLOSE, b"\x03\xe8")
            self.peer.wait_for_end()

    def _run(self, metadata: Metadata) -> None:
        self._lose("metadata")
        upload = Upload(metadata)
        if self.receiver.resumable:
            assert metadata.upload is not None
            upload = self.server.uploads.setdefault(metadata.upload, upload)
            assert upload.metadata == metadata
            if upload.stored:
                self._say(self.receiver.close_stored())
                self.peer.goodbye()
                return
            self._resume(upload)
        self._receive(upload)
        self._lose("finished")
        data = bytes(upload.data)
        if upload.claim:
            digest = hashlib.new(upload.claim.type, data).hexdigest()
            if digest != upload.claim.value:
                fault = Fault(FaultCode.HASH_MISMATCH, "The hash differs.")
                self._say(self.receiver.fail(fault))
                self.peer.goodbye()
                return
        upload.stored = True
        self.server.stored.append(data)
        self._lose("close")
        self._say(self.receiver.close())
        self.peer.goodbye()

    def _resume(self, upload: Upload) -> None:
        del upload.data[max(0, len(upload.data) - self.act.forgets) :]
        check = None
        if upload.data and self.checks:
            digest = SHA1(upload.data, usedforsecurity=False).hexdigest()
            check = HashClaim("sha1", self.act.check or digest)
        offset = len(upload.data)
        self.server.offsets.append(offset)
        self.receiver.resume(Resumption(offset, KEEP, check))

    def _receive(self, upload: Upload) -> None:
        while True:
            while granted := self.receiver.grant(self.chunk, 2):
                self._say(self.receiver.ready(granted))
                if isinstance(granted, AskFinished):
                    break
            opcode, length, key = self._head()
            assert opcode != CLOSE
            if opcode == TEXT:
                signal = self.receiver.receive_text(self._payload(length, key).decode())
                assert not isinstance(signal, Abandon)
                if isinstance(signal, Finished):
                    upload.claim = signal.hash
                    return
                continue
            whole = self._left is None or length < self._left
            take = length if whole else self._left or 0
            upload.data += self._payload(take, key)
            self.server.received += take
            if not whole:
                raise Lost
            if self._left is not None:
                self._left -= length
            self.receiver.receive_binary(length)

    def _lose(self, where: str) -> None:
        if self.act.lost == where:
            raise Lost

    def _say(self, text: str) -> None:
        self.peer.frame(TEXT, text.encode())

    def _head(self) -> tuple[int, int, bytes]:
        """The opcode, the length and the mask of the next frame."""
        first, second = self._take(2)
        extended = {126: 2, 127: 8}.get(second & 0x7F, 0)
        length = int.from_bytes(self._take(extended)) if extended else second & 0x7F
        return first & 0x0F, length, self._take(4)

    def _payload(self, length: int, key: bytes) -> bytes:
        data = self._take(length)
        pad = (key * (length // 4 + 1))[:length]
        return (int.from_bytes(data) ^ int.from_bytes(pad)).to_bytes(length)

    def _take(self, length: int) -> bytes:
        peer: Any = self.peer
        while len(peer._buffer) < length:
            peer._fill()
        taken: bytes = peer._take(length)
        return taken


def lost_after(*bytes_: int) -> Iterable[Act]:
    """Connections that are lost in mid-file."""
    return [Act(after=count) for count in bytes_]
