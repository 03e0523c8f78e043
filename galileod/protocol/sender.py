"""The sending role without I/O: which chunk or signal a client sends next."""

from collections import deque
from typing import Final

from attrs import frozen

from .decoding import decode_server
from .encoding import encode_abandon, encode_ask, encode_finished, encode_metadata
from .errors import FaultCode, LocalProtocolError, RemoteProtocolError
from .messages import (
    ASK,
    RESUME,
    Agreement,
    Ask,
    Close,
    Error,
    Finished,
    HashClaim,
    Metadata,
    Ready,
    Resumption,
    ServerSignal,
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

    `sent` is the number of bytes of the file that the server has, or that were sent to it.
    `agreement` is what the first signal of the server says about extensions: None before that
    signal, and if the server states none. `resumption` is where its first `ready` says that the
    upload continues, None unless it is `resumable`.

    It is file number `number` of its connection. `next` makes the sender of a further one.
    """

    def __init__(self, metadata: Metadata, default_chunk: int = DEFAULT_CHUNK) -> None:
        self.state = SenderState.START
        self.sent = 0
        self.number = 0
        self.agreement: Agreement | None = None
        self.resumption: Resumption | None = None
        self._metadata = metadata
        self._heard = False
        self._untouched = True  # no chunk of the file was sent, and no `finished`
        self._default_chunk = default_chunk
        self._credits: deque[int] = deque()

    def next(self, metadata: Metadata, number: int, *, whole: bool) -> "UploadSender":
        """The sender of a further file of the connection. `finished` follows its last byte.

        One that is sent `whole` needs no `ready`.
        """
        if not self.has_next:
            raise LocalProtocolError("the connection has one file only")
        following = UploadSender(metadata, self._default_chunk)
        following.number, following.agreement = number, self.agreement
        if whole and metadata.size:
            following._credits.append(metadata.size)
        return following

    @property
    def has_next(self) -> bool:
        """Whether client and server agree that the connection may have more files."""
        return self.agreement is not None and self.agreement.limits is not None

    @property
    def has_ask(self) -> bool:
        """Whether client and server agree that the client may ask which files there are."""
        return self.agreement is not None and self.has_next and ASK in self.agreement.can

    @property
    def may_ask(self) -> bool:
        """Whether a question may be sent now: behind this file, or before the data of file 0."""
        begun = self.state in (SenderState.SENDING, SenderState.FINISHING)
        if begun and (self.number or not self._untouched):
            return False
        return self.has_ask and SenderEvent.SEND_ASK in SENDER[self.state]

    @property
    def resumable(self) -> bool:
        """Whether client and server agree that the upload may be resumed."""
        return self.agreement is not None and self._resumes(self.agreement)

    def start(self) -> str:
        """The metadata, which begins the upload, or asks to abandon an earlier one."""
        if self._metadata.abandon:
            self._step(SenderEvent.SEND_ABANDON)
            return encode_metadata(self._metadata)
        empty = self._metadata.size == 0
        self._step(SenderEvent.SEND_METADATA_OF_EMPTY_FILE if empty else SenderEvent.SEND_METADATA)
        return encode_metadata(self._metadata)

    def receive_text(self, text: str) -> ServerSignal:
        """A TEXT message arrived.

        A `close` is a violation before `finished` has been sent, except as the first signal about
        an upload that may be resumed: an earlier attempt has stored the file.
        """
        signal = decode_server(text)
        self.receive(signal)
        return signal

    def receive(self, signal: ServerSignal) -> None:
        """As `receive_text`, for a signal that is decoded."""
        match signal:
            case Ready() if self.has_next and self.state is SenderState.AWAIT_CLOSE:
                pass  # C9.6: the answer would be taken for one about the next file
            case Ready(chunksize, agreement):
                if len(self._credits) == MAX_CREDITS:
                    raise RemoteProtocolError(
                        FaultCode.BAD_MESSAGE,
                        f"More than {MAX_CREDITS} ready signals are unanswered.",
                    )
                resumption = self._resumption(signal)
                at_end = resumption is not None and resumption.offset == self._metadata.size
                self._step(SenderEvent.READY_AT_END if at_end else SenderEvent.READY)
                if resumption is not None:
                    self.resumption, self.sent = resumption, resumption.offset
                self._credits.append(chunksize or self._default_chunk)
                self._agree(agreement)
            case Close(agreement=agreement):
                agreed = self.agreement if self.number else agreement
                first = not self._heard and self.state is not SenderState.AWAIT_CLOSE
                stored = first and agreed is not None and self._resumes(agreed)
                self._step(SenderEvent.CLOSE_OF_STORED if stored else SenderEvent.CLOSE)
                self._agree(agreement)
            case Error(fatal=fatal, agreement=agreement):
                self._step(SenderEvent.FATAL if fatal else SenderEvent.ERROR)
                self._agree(agreement)

    def abandon(self) -> str:
        """The signal that cancels the upload, where an extension is agreed; it is discarded."""
        if not (self.resumable or self.has_next):
            raise LocalProtocolError("the server does not know `abandon`")
        self._step(SenderEvent.SEND_ABANDON)
        self._credits.clear()
        return encode_abandon(self.number)

    def ask(self, question: Ask) -> str:
        """The signal that asks which files the server has, where `may_ask` says that it may."""
        if not self.may_ask:
            raise LocalProtocolError(f"no question may be sent in the state {self.state.name}")
        self._step(SenderEvent.SEND_ASK)
        return encode_ask(question)

    def _resumes(self, agreement: Agreement) -> bool:
        return self._metadata.upload is not None and RESUME in agreement.can

    def _resumption(self, ready: Ready) -> Resumption | None:
        """Where the first `ready` of a server that can resume says that the upload continues."""
        agreement = self.agreement if self.number else ready.agreement
        if self._heard or agreement is None or not self._resumes(agreement):
            return None
        resumption = ready.resumption if self.number else agreement.resumption
        if resumption is None or resumption.offset > self._metadata.size:
            raise RemoteProtocolError(
                FaultCode.BAD_MESSAGE,
                f"The server's `offset` is not an integer from 0 to {self._metadata.size}.",
            )
        return resumption

    def _agree(self, agreement: Agreement | None) -> None:
        """Only the first signal, and only to a client that states extensions, agrees on them."""
        if not self._heard and not self.number and self._metadata.can is not None:
            self.agreement = agreement
        self._heard = True

    def next_due(self) -> ChunkDue | FinishedDue | None:
        """What the oldest unanswered `ready` asks for, or None if there is none.

        `finished` of a further file needs no `ready`.
        """
        if self.number and self.state is SenderState.FINISHING:
            return FinishedDue()
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
        self._untouched = False
        self._credits.popleft()
        self.sent += length

    def finish(self, claim: HashClaim | None = None) -> str:
        """The `finished` signal, which answers the oldest unanswered `ready`."""
        if not isinstance(due := self.next_due(), FinishedDue):
            raise LocalProtocolError(f"finished is not due: {due}")
        self._step(SenderEvent.SEND_FINISHED)
        self._untouched = False
        if self.has_next:
            self._credits.clear()
        else:
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
