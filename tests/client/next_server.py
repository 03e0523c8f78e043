"""A server that takes many files on a connection, and ends it where a test says so.

Real sockets, in threads. What it says is made by the receiving role of the protocol.
"""

import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Final, Self

from attrs import define, field, frozen
from helpers.receivers import CLOSE, TEXT, Peer, Scripted

from galileod.protocol.encoding import encode_held
from galileod.protocol.errors import Fault, FaultCode
from galileod.protocol.messages import (
    Abandon,
    Ask,
    AskEntry,
    Finished,
    Held,
    Limits,
    Metadata,
    Resumption,
)
from galileod.protocol.receiver import UploadReceiver
from galileod.protocol.states import ReceiverState

LIMITS: Final = Limits(next=100, whole=1000, room=50_000)
CAN: Final = frozenset({"next", "resume", "ask"})
CONTINUATION: Final = 0x0
ENDED: Final = (ReceiverState.VERIFYING, ReceiverState.CLOSED, ReceiverState.FAILED)


@frozen
class Act:
    """How one connection goes; without anything it goes well.

    It is lost when file number `lost` is finished: before it is stored, or with `stored` after
    that; or before the `ready` of file number `begun`; or at question number `asked` (from 1). With
    `silent`, further files have no answer before. `refuses` are the codes of the errors about files
    of some names; those in `ending` end the connection. `last` is said before the answer to that
    file, or to question number `last_asked`. `can` are the extensions.
    """

    lost: int | None = None
    stored: bool = False
    begun: int | None = None
    silent: bool = False
    asked: int | None = None
    refuses: Mapping[str, FaultCode] = field(factory=dict)
    ending: frozenset[str] = frozenset()
    last: int | None = None
    last_asked: int | None = None
    can: frozenset[str] = CAN
    limits: Limits = LIMITS
    does: Callable[[], object] = lambda: None


class NextServer:
    """Goes through `acts`, one for each connection, and then does well."""

    def __init__(self, *acts: Act) -> None:
        self.acts = list(acts)
        self.stored: list[tuple[str, bytes]] = []
        self.keys: dict[str, tuple[str, int]] = {}  # of what is stored
        self.files: list[list[Metadata]] = []  # of each connection
        self.abandoned: list[str] = []
        self.questions: list[tuple[AskEntry, ...]] = []
        self.holds: Callable[[AskEntry], bool] = lambda _: False
        self.closed = 0  # connections that ended with a Close frame
        self._lock = threading.Lock()
        self._scripted = Scripted(self._serve)
        self.url = self._scripted.url
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._stack.enter_context(self._scripted)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    @property
    def names(self) -> list[str]:
        """Of what is stored, sorted."""
        return sorted(name for name, _ in self.stored)

    def _serve(self, peer: Peer) -> None:
        peer.accept()
        with self._lock:
            act = self.acts.pop(0) if self.acts else Act()
            files: list[Metadata] = []
            self.files.append(files)
        _Connection(self, peer, act, files).run()

    def store(self, metadata: Metadata, data: bytes) -> None:
        with self._lock:
            self.stored.append((metadata.name, data))
            if metadata.upload:
                self.keys[metadata.upload] = (metadata.name, metadata.size)


@define
class _Connection:
    server: NextServer
    peer: Peer
    act: Act
    files: list[Metadata]
    receiver: UploadReceiver = field(init=False)
    data: bytearray = field(factory=bytearray)

    def run(self) -> None:
        self.receiver = UploadReceiver(self.act.can)
        if "next" in self.act.can:
            self.receiver.offer(self.act.limits, ask="ask" in self.act.can)
        while (message := self._message()) is not None:
            if self.receiver.state in ENDED:
                self.receiver, self.data = self.receiver.next(), bytearray()
            if isinstance(message, bytes):
                taken = self.receiver.receive_binary(len(message)).length
                self.data += message[:taken]
            elif self._take(message):
                return
            self._grant()
        self.server.closed += 1
        self.peer.frame(CLOSE, b"\x03\xe8")

    def _grant(self) -> None:
        while self.receiver.metadata and (granted := self.receiver.grant(700, 2)):
            self._say(self.receiver.ready(granted))

    def _take(self, text: str) -> bool:
        """Take a signal; returns whether the connection has ended."""
        match self.receiver.receive_text(text):
            case Metadata() as metadata:
                self.files.append(metadata)
                return self._begin(metadata)
            case Finished():
                return self._finish()
            case Ask() as question:
                return self._answer(question)
            case Abandon():
                self._fail(FaultCode.ABANDONED)
                self.server.abandoned.append(self.files[-1].name)
        return False

    def _answer(self, question: Ask) -> bool:
        if question.number == self.act.asked:
            self.peer.reset()
            return True
        self.server.questions.append(question.entries)
        held = frozenset(i for i, one in enumerate(question.entries) if self.server.holds(one))
        if question.number == self.act.last_asked:
            self.peer.say(last=True)
        self._say(encode_held(Held(held, question.number)))
        return False

    def _begin(self, metadata: Metadata) -> bool:
        if self.receiver.number == self.act.begun:
            self.peer.reset()
            return True
        if metadata.name in self.act.refuses:
            ends = metadata.name in self.act.ending
            self._fail(self.act.refuses[metadata.name], ends=ends)
            if ends:
                self.peer.wait_for_end()
            return ends
        if self.receiver.resumable and not self.receiver.whole:
            if metadata.upload in self.server.keys:
                self._say(self.receiver.close_stored())
                return False
            self.receiver.resume(Resumption(0, 60))
        return False

    def _finish(self) -> bool:
        metadata, number = self.files[-1], self.receiver.number
        known = metadata.upload in self.server.keys
        if number == self.act.lost:
            if self.act.stored and not known:
                self.server.store(metadata, bytes(self.data))
            self.act.does()
            self.peer.reset()
            return True
        if known:
            assert self.server.keys[metadata.upload or ""] == (metadata.name, metadata.size)
        else:
            self.server.store(metadata, bytes(self.data))
        text = self.receiver.close()
        if number == self.act.last:
            self.peer.say(last=True)
        if not (self.act.silent and number):
            self._say(text)
        return False

    def _fail(self, code: FaultCode, *, ends: bool = False) -> None:
        fault = Fault(code, f"It is {code}.")
        self._say(self.receiver.fail(fault, continues=not ends))

    def _say(self, text: str) -> None:
        self.peer.frame(TEXT, text.encode())

    def _message(self) -> str | bytes | None:
        """The client's next message; None for a Close frame."""
        data, text, begun = b"", False, False
        while True:
            first, payload = self._frame()
            if first & 0x0F == CLOSE:
                return None
            assert begun == (first & 0x0F == CONTINUATION)
            text, begun = text or first & 0x0F == TEXT, True
            data += payload
            if first & 0x80:
                return data.decode() if text else data

    def _frame(self) -> tuple[int, bytes]:
        first, second = self._read(2)
        extended = {126: 2, 127: 8}.get(second & 0x7F, 0)
        length = int.from_bytes(self._read(extended)) if extended else second & 0x7F
        key, payload = self._read(4), self._read(length)
        pad = (key * (length // 4 + 1))[:length]
        return first, (int.from_bytes(payload) ^ int.from_bytes(pad)).to_bytes(length)

    def _read(self, length: int) -> bytes:
        peer: Any = self.peer
        while len(peer._buffer) < length:
            peer._fill()
        taken: bytes = peer._take(length)
        return taken
