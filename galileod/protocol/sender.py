"""The sending role without I/O: which chunk or signal a client sends next."""

from collections import deque
from typing import Final

from attrs import frozen

from .errors import FaultCode, LocalProtocolError, RemoteProtocolError
from .messages import (
    Close,
    Error,
    Finished,
    HashClaim,
    Metadata,
    Ready,
    ServerSignal,
    decode_server,
    encode_finished,
    encode_metadata,
)
from .states import SENDER, SenderEvent, SenderState

DEFAULT_CHUNK: Final = 250_000
"""Bytes in a chunk if the server names no size: the size that the original client uses."""

MAX_CREDITS: Final = 1024
"""Maximum number of unanswered `ready` signals; a server that waits for chunks sends fewer."""


@frozen
class ChunkDue:
    """`length` bytes of the file from `offset` on are to be sent now."""

    offset: int
    length: int


@frozen
class FinishedDue:
    """The `finished` signal is to be sent now."""


class UploadSender:
    """One upload, as the client sees it.

    `receive_text` raises RemoteProtocolError for a violation by the server, the other methods
    LocalProtocolError for a mistake of the caller. In both cases the state is unchanged.
    """

    def __init__(self, name: str, size: int, default_chunk: int = DEFAULT_CHUNK) -> None:
        self.state = SenderState.START
        self.sent = 0
        self._metadata = Metadata(name, size)
        self._default_chunk = default_chunk
        self._credits: deque[int] = deque()

    def start(self) -> str:
        """The metadata, which begins the upload."""
        empty = self._metadata.size == 0
        self._step(SenderEvent.SEND_METADATA_OF_EMPTY_FILE if empty else SenderEvent.SEND_METADATA)
        return encode_metadata(self._metadata)

    def receive_text(self, text: str) -> ServerSignal:
        """A TEXT message arrived. A `close` is a violation before `finished` has been sent."""
        signal = decode_server(text)
        match signal:
            case Ready(chunksize):
                if len(self._credits) == MAX_CREDITS:
                    raise RemoteProtocolError(
                        FaultCode.BAD_MESSAGE,
                        f"More than {MAX_CREDITS} ready signals are unanswered.",
                    )
                self._step(SenderEvent.READY)
                self._credits.append(chunksize or self._default_chunk)
            case Close():
                self._step(SenderEvent.CLOSE)
            case Error(fatal=fatal):
                self._step(SenderEvent.FATAL if fatal else SenderEvent.ERROR)
        return signal

    def next_due(self) -> ChunkDue | FinishedDue | None:
        """What the oldest unanswered `ready` asks for, or None if there is none."""
        if not self._credits:
            return None
        if self.state is SenderState.SENDING:
            left = self._metadata.size - self.sent
            return ChunkDue(self.sent, min(self._credits[0], left))
        if self.state in (SenderState.FINISHING, SenderState.AWAIT_CLOSE):
            return FinishedDue()
        return None

    def chunk_sent(self, length: int) -> None:
        """A chunk of `length` bytes answers the oldest unanswered `ready`."""
        due = self.next_due()
        if not isinstance(due, ChunkDue) or not 0 < length <= due.length:
            raise LocalProtocolError(f"a chunk of {length} bytes is not due: {due}")
        last = self.sent + length == self._metadata.size
        self._step(SenderEvent.SEND_LAST_CHUNK if last else SenderEvent.SEND_CHUNK)
        self._credits.popleft()
        self.sent += length

    def finish(self, claim: HashClaim | None = None) -> str:
        """The `finished` signal, which answers the oldest unanswered `ready`."""
        if not isinstance(due := self.next_due(), FinishedDue):
            raise LocalProtocolError(f"finished is not due: {due}")
        self._step(SenderEvent.SEND_FINISHED)
        self._credits.popleft()
        return encode_finished(Finished(claim))

    def _step(self, event: SenderEvent) -> None:
        following = SENDER[self.state].get(event)
        if following is not None:
            self.state = following
            return
        if event.name.startswith("SEND_"):
            raise LocalProtocolError(f"{event.name} is not allowed in the state {self.state.name}")
        raise RemoteProtocolError(
            FaultCode.BAD_MESSAGE,
            f"The server sent {event.name.lower()}, which is not allowed"
            f" in the state {self.state.name}.",
        )
