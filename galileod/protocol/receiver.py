"""The receiving role without I/O: what the server accepts from a client, and what it sends."""

from typing import Final

from attrs import frozen

from .credits import CreditWindow
from .decoding import decode_client
from .encoding import encode_close, encode_error, encode_ready
from .errors import Fault, FaultCode, LocalProtocolError, RemoteProtocolError
from .messages import (
    ASK,
    NEXT,
    RESUME,
    Abandon,
    Agreement,
    Ask,
    Finished,
    Ignored,
    Limits,
    Metadata,
    Resumption,
)
from .states import RECEIVER, ReceiverEvent, ReceiverState

MAX_EMPTY_CHUNKS: Final = 64
"""Maximum number of empty chunks in one upload. Each is answered with a `ready`, so without a
limit the exchange could continue without end. The original senders need two."""


@frozen
class Chunk:
    """`length` bytes of the file arrived, in order."""

    length: int


@frozen
class Credit:
    """A `ready` signal for one chunk of at most `length` bytes."""

    length: int


@frozen
class AskFinished:
    """The `ready` signal after the last byte, which asks for `finished`."""


class UploadReceiver:
    """One upload, as the server sees it.

    The `receive_` methods raise RemoteProtocolError for a violation by the client, the others
    LocalProtocolError for a mistake of the caller. In both cases the state is unchanged.

    `can` are the extensions that the server supports; without any, it sends what the original
    server sends. The first signal to a client that states extensions names those that both
    support; no other client gets any of their keys.

    It is file number `number` of its connection; `next` makes the one for the next file.
    `has_finished` says whether `finished` has come.
    """

    def __init__(self, can: frozenset[str] = frozenset()) -> None:
        self.state = ReceiverState.EXPECT_METADATA
        self.number = 0
        self._can = can
        self._limits: Limits | None = None
        self._answers = False  # whether this client may ask
        self._agreed: frozenset[str] = frozenset()  # for the whole connection, by file 0
        self._dropping = False  # data may come that belongs to the file before, which was refused
        self._resumption: Resumption | None = None
        self._begun = False
        self._untouched = True  # no chunk of the file has come, and no `finished`
        self.metadata: Metadata | None = None
        self.window = CreditWindow(0)
        self._asked_finished = False
        self.has_finished = False
        self._empty_chunks = 0

    def next(self) -> "UploadReceiver":
        """The receiver of the next file on the connection.

        To be called when `finished` has come, or the file was answered. What still comes for a file
        that was refused is dropped, up to the metadata of the next one.
        """
        if not self.has_next:
            raise LocalProtocolError("the connection has one file only")
        following = UploadReceiver()
        following.number = self.number + 1
        following._agreed, following._limits = self._common, self._limits
        following._dropping = self.state is ReceiverState.FAILED and not self.has_finished
        following._asked_finished = True  # `finished` follows the last byte at once
        return following

    @property
    def received(self) -> int:
        """Bytes of the file that have arrived."""
        return self.metadata.size - self.window.remaining if self.metadata else 0

    @property
    def resumable(self) -> bool:
        """Whether client and server agree that the upload may be resumed."""
        return bool(self.metadata and self.metadata.upload is not None and RESUME in self._common)

    @property
    def has_next(self) -> bool:
        """Whether client and server agree that the connection may have more files."""
        return NEXT in self._common

    @property
    def whole(self) -> bool:
        """Whether the file is sent in one go: without credits, and so without any `ready`."""
        if not self.number or self.metadata is None or self._limits is None:
            return False
        return self.metadata.size <= self._limits.whole or not self.metadata.size

    @property
    def may_have_next(self) -> bool:
        """Whether client and server both support further files on a connection."""
        offered = self.metadata.can if self.metadata else None
        return NEXT in self._can and offered is not None and NEXT in offered

    def offer(self, limits: Limits, *, ask: bool = False) -> None:
        """State in the first signal that the connection may have more files, within `limits`.

        Has no effect for a client that cannot send them. Without it, `next` is not agreed. With
        `ask`, the client may also ask which files there are.
        """
        if self._begun or self.number:
            raise LocalProtocolError("the extensions have been agreed already")
        self._limits, self._answers = limits, ask

    def receive_text(self, text: str) -> Metadata | Finished | Abandon | Ask | Ignored:
        """A TEXT message arrived."""
        # Of file 0, only questions are understood by what its first signal has agreed.
        first = self._begun and not self.number
        signal = decode_client(text, self._common & {ASK} if first else self._agreed)
        match signal:
            case Metadata():
                empty = signal.size == 0
                self._step(
                    ReceiverEvent.METADATA_OF_EMPTY_FILE if empty else ReceiverEvent.METADATA
                )
                self.metadata = signal
                self.window = CreditWindow(signal.size)
                if self.whole and not empty:
                    self.window.grant(signal.size)
            case Finished():
                if self.number and self.state is ReceiverState.EXPECT_METADATA:
                    return Ignored()  # a further one of the file before
                if self.state is ReceiverState.RECEIVING:
                    raise self._wrong_size(self.received)
                self._step(ReceiverEvent.FINISHED)
                self.has_finished, self._untouched = True, False
            case Abandon(file):
                # Without agreement the signal is unknown, and after an answer it came too late.
                agreed = self.has_next or self.resumable
                possible = ReceiverEvent.ABANDON in RECEIVER[self.state]
                if file != self.number or not agreed or not possible:
                    return Ignored()
            case Ask():
                self._receive_question()
            case Ignored():
                pass
        return signal

    def resume(self, resumption: Resumption) -> None:
        """Begin or continue a resumable upload behind the bytes that the server has.

        Must be called before the first `ready` of a resumable upload.
        """
        size = self.metadata.size if self.metadata else 0
        if not self.resumable or self._begun or not 0 <= resumption.offset <= size:
            raise LocalProtocolError(f"the upload cannot be resumed at {resumption.offset}")
        self._resumption = resumption
        self.window = CreditWindow(size - resumption.offset)
        complete = not self.window.remaining
        self.state = ReceiverState.EXPECT_FINISHED if complete else ReceiverState.RECEIVING
        if complete:
            self._asked_finished = False

    def receive_binary(self, length: int) -> Chunk:
        """A BINARY message of `length` bytes arrived."""
        if self.number and self.state is ReceiverState.EXPECT_METADATA:
            return self._receive_between(length)
        if length == 0:
            return self._receive_empty()
        if length > self.window.limit:
            raise self.overrun(length)
        last = length == self.window.remaining
        self._step(ReceiverEvent.LAST_CHUNK if last else ReceiverEvent.CHUNK)
        self._untouched = False
        self.window.take(length)
        return Chunk(length)

    def overrun(self, length: int) -> RemoteProtocolError:
        """The error for a BINARY message of `length` bytes that exceeds its credit."""
        if self.metadata is None:
            return RemoteProtocolError(
                FaultCode.BAD_MESSAGE, "Data came before the metadata. Send name and size first."
            )
        if length > self.window.remaining:
            return self._wrong_size(self.received + length)
        limit = self.window.limit
        # True if the `ready` for it was sent only after the header of its frame had been refused.
        early = 0 < length <= limit
        what = "before it was asked for" if early else f"where at most {limit} were granted"
        return RemoteProtocolError(
            FaultCode.BAD_CHUNK,
            f"A chunk of {length} bytes came {what}.",
            limit=limit,
            received=length,
        )

    def grant(self, chunk: int, in_flight: int) -> Credit | AskFinished | None:
        """Make the next `ready` signal, which `ready` encodes; None if none may be sent now.

        `chunk` is the wanted size of a credit in bytes, `in_flight` the maximum number of
        outstanding credits.
        """
        match self.state:
            case ReceiverState.RECEIVING if self.whole:
                return None
            case ReceiverState.RECEIVING if self.window.outstanding < in_flight:
                length = self.window.next_credit(chunk)
                if length == 0:
                    return None
                self._step(ReceiverEvent.SEND_READY)
                self.window.grant(length)
                return Credit(length)
            case ReceiverState.EXPECT_FINISHED if not self._asked_finished:
                self._step(ReceiverEvent.SEND_READY)
                self._asked_finished = True
                return AskFinished()
        return None

    def ready(self, granted: Credit | AskFinished) -> str:
        """The signal for what `grant` returned."""
        if self.resumable and self._resumption is None:
            raise LocalProtocolError("the offset of a resumable upload must be known")
        length = granted.length if isinstance(granted, Credit) else None
        first = not self._begun
        agreement = self._agreement(self._resumption)
        resumption = self._resumption if self.number and first else None
        return encode_ready(length, agreement, self.number, resumption)

    def close(self, path: str | None = None) -> str:
        """The signal that the file is verified and stored.

        `path` is where, below the directory of the server; None if that is the client's name. The
        signal contains it if an extension is agreed, and its last part, the stored name, if that
        differs from the client's; it is otherwise identical to that of the original server.
        """
        self._step(ReceiverEvent.SEND_CLOSE)
        return self._close(path)

    def close_stored(self, path: str | None = None) -> str:
        """`close` as the first signal: an earlier attempt with the same key has stored the file."""
        if not self.resumable or self._begun:
            raise LocalProtocolError("only a resumable upload can be stored before it begins")
        self._step(ReceiverEvent.SEND_CLOSE_OF_STORED)
        return self._close(path)

    def fail(self, fault: Fault, kept: int | None = None, *, continues: bool = False) -> str:
        """The fatal error signal for `fault`, which ends the upload.

        `kept` is the number of seconds for which what arrived is kept, None if it is discarded. A
        client that cannot resume is not told. With `continues`, the connection has more files.
        """
        self._step(ReceiverEvent.SEND_FATAL)
        kept = kept if self.resumable else None
        agreement = self._agreement(None, continues=continues)
        return encode_error(
            fault.reason,
            fault.code,
            fault.details,
            kept=kept,
            agreement=agreement,
            file=self.number,
            continues=continues,
        )

    def _close(self, path: str | None) -> str:
        sent = self.metadata.name if self.metadata else None
        name = path.rpartition("/")[2] if path else None
        place = path if self._common else None
        agreement = self._agreement(None)
        return encode_close(None if name == sent else name, agreement, self.number, place)

    def _receive_question(self) -> None:
        between = self.number > 0 and self.state is ReceiverState.EXPECT_METADATA
        if not between and (self.number or not self._untouched):
            raise RemoteProtocolError(
                FaultCode.BAD_MESSAGE,
                "A question came within a file. It may come only between files.",
            )
        self._step(ReceiverEvent.ASK)

    @property
    def _common(self) -> frozenset[str]:
        """The extensions that client and server support."""
        if self.number:
            return self._agreed
        offered = self.metadata.can if self.metadata else None
        if self.metadata is None or offered is None:
            return frozenset()
        missing = set[str]()
        if self.metadata.upload is None:
            missing.add(RESUME)
        if self._limits is None or NEXT not in self._can & offered:
            missing |= {NEXT, ASK}
        elif not self._answers:
            missing.add(ASK)
        return (self._can & offered) - missing

    def _agreement(
        self, resumption: Resumption | None, *, continues: bool = True
    ) -> Agreement | None:
        """What the first signal says about extensions; None for a later one, or an old peer."""
        first, self._begun = not self._begun, True
        if not first or not self._can or self.metadata is None or self.metadata.can is None:
            return None
        limits = self._limits if self.has_next and continues else None
        return Agreement(self._common, resumption, limits)

    def _receive_between(self, length: int) -> Chunk:
        """Drop data between two files."""
        if length and not self._dropping:
            raise self.overrun(length)
        if not length:
            if self._empty_chunks == MAX_EMPTY_CHUNKS:
                # Of no file, so that no file can be refused because of it.
                raise RemoteProtocolError(
                    FaultCode.BAD_MESSAGE,
                    f"More than {MAX_EMPTY_CHUNKS} empty chunks came between two files.",
                )
            self._empty_chunks += 1
        return Chunk(0)

    def _receive_empty(self) -> Chunk:
        self._check_empty()
        if self.state is ReceiverState.RECEIVING and self.window.outstanding == 0:
            raise self.overrun(0)
        self._step(ReceiverEvent.EMPTY_CHUNK)
        self._untouched = False
        self._empty_chunks += 1
        self._asked_finished = self.number > 0
        if self.state is ReceiverState.RECEIVING:
            self.window.take(0)
        return Chunk(0)

    def _check_empty(self) -> None:
        if self._empty_chunks == MAX_EMPTY_CHUNKS:
            raise RemoteProtocolError(
                FaultCode.BAD_CHUNK, f"More than {MAX_EMPTY_CHUNKS} empty chunks came."
            )

    def _wrong_size(self, received: int) -> RemoteProtocolError:
        expected = self.metadata.size if self.metadata else 0
        return RemoteProtocolError(
            FaultCode.SIZE_MISMATCH,
            f"Expected: {expected} bytes. Got: {received} bytes.",
            expected=expected,
            received=received,
        )

    def _step(self, event: ReceiverEvent) -> None:
        following = RECEIVER[self.state].get(event)
        if following is not None:
            self.state = following
            return
        what = event.name.lower().replace("_", " ")
        where = self.state.name.lower().replace("_", " ")
        if event.name.startswith("SEND_"):
            raise LocalProtocolError(f"cannot {what} in the state '{where}'")
        raise RemoteProtocolError(
            FaultCode.BAD_MESSAGE, f"The message ({what}) is not allowed in the state '{where}'."
        )
