"""The sending role of a connection with many files (the extension `next`), without I/O."""

from collections.abc import Sequence

from attrs import evolve

from .decoding import decode_server
from .encoding import encode_finished, encode_metadata
from .errors import FaultCode, LocalProtocolError, RemoteProtocolError
from .messages import (
    MAX_ASKED,
    Ask,
    AskEntry,
    Close,
    Error,
    Finished,
    HashClaim,
    Held,
    Ignored,
    Last,
    Limits,
    Metadata,
    Ready,
    ServerSignal,
)
from .sender import UploadSender
from .states import SenderState

_SENT = (SenderState.AWAIT_CLOSE, SenderState.STORED, SenderState.FAILED)
"""The states of a file behind which the next one may begin."""


class FilesSender:
    """The files of one connection, as the client sees them; `first` sends file 0.

    If the server does not agree to `next`, that is the only one. `begin` makes the sender of a
    further one; one that `is_whole` may also be sent with `send_whole` at once, which costs less.
    Values of the server's limits that are raised later are ignored, as a client may: it waits for
    the `ready` of a file that was larger than the first `whole`.

    `receive_text` raises RemoteProtocolError for a violation by the server, the other methods
    LocalProtocolError for a mistake of the caller. In both cases nothing is changed.

    `ended`: a fatal error has ended the connection. What is open then has no answer.
    """

    def __init__(self, first: UploadSender) -> None:
        self.ended = False
        self._first = self._current = first
        self._count = 1
        self._last = False
        self._question: Ask | None = None  # without an answer
        self._asked = 0
        self._open: dict[int, UploadSender | None] = {0: first}  # None after `send_whole`
        self._whole: dict[int, int] = {}  # the sizes of whole files under way
        self._under_way = 0  # the sum of them

    @property
    def limits(self) -> Limits | None:
        """What further files may use; None if there can be none, or the server has not said."""
        agreement = self._first.agreement
        return agreement.limits if agreement else None

    @property
    def takes_more(self) -> bool:
        """Whether further files may begin on this connection, now or later."""
        return self.limits is not None and not self._last and not self.ended

    @property
    def resumable(self) -> bool:
        """Whether files with a key can be resumed on this connection."""
        return self._first.resumable

    @property
    def has_ask(self) -> bool:
        """Whether the client may ask on this connection which files the server has."""
        return self._first.has_ask

    @property
    def may_ask(self) -> bool:
        """Whether a question may be sent now: between two files, or before the data of file 0.

        One at a time may be without an answer.
        """
        return self.takes_more and self._question is None and self._current.may_ask

    def ask(self, entries: Sequence[AskEntry]) -> str:
        """The question which of 1 to MAX_ASKED `entries` the server has; a Held is the answer."""
        if not self.may_ask or not 0 < len(entries) <= MAX_ASKED:
            raise LocalProtocolError(f"no question of {len(entries)} entries may be sent now")
        question = Ask(tuple(entries), self._asked + 1)
        signal = self._current.ask(question)
        self._question, self._asked = question, question.number
        return signal

    @property
    def open(self) -> frozenset[int]:
        """The numbers of the files that were begun and have no answer, file 0 included."""
        return frozenset(self._open)

    @property
    def places(self) -> int:
        """How many further files may be opened beside those that are open."""
        open_files = len(self._open) - (0 in self._open)
        return self.limits.next - open_files if self.limits else 0

    @property
    def room(self) -> int:
        """How many bytes of whole files may be sent beside those under way."""
        return self.limits.room - self._under_way if self.limits else 0

    def is_whole(self, size: int) -> bool:
        """Whether a further file of `size` bytes is sent in one go."""
        return self.limits is not None and size <= self.limits.whole

    def fits(self, size: int) -> bool:
        """Whether a further file of `size` bytes may begin now."""
        if not self.takes_more or self._current.state not in _SENT or self.places < 1:
            return False
        return not self.is_whole(size) or size <= self.room

    def send_whole(self, metadata: Metadata, claim: HashClaim | None) -> tuple[int, str, str]:
        """The number of a whole file, its metadata, and its `finished`.

        Its bytes are to be sent between the two, in one BINARY message unless it is empty.
        """
        if not self.is_whole(metadata.size):
            raise LocalProtocolError(f"a file of {metadata.size} bytes is not sent whole")
        number = self._add(metadata.size)
        self._open[number] = None
        return number, encode_metadata(metadata), encode_finished(Finished(claim))

    def begin(self, metadata: Metadata) -> UploadSender:
        """The sender of a further file; its `start` begins it."""
        whole = self.is_whole(metadata.size)
        number = self._add(metadata.size)
        self._current = self._first.next(metadata, number, whole=whole)
        self._open[number] = self._current
        return self._current

    def _add(self, size: int) -> int:
        """The number of a further file that begins now."""
        if not self.fits(size):
            raise LocalProtocolError(f"no file of {size} bytes may begin now")
        number = self._count
        self._count += 1
        if self.is_whole(size):
            self._whole[number] = size
            self._under_way += size
        return number

    def receive_text(self, text: str) -> ServerSignal:
        """A TEXT message arrived. The `file` of the signal is 0 where there is no other one."""
        signal = decode_server(text)
        match signal:
            case Last():
                self._last = True
            case Ready() | Close() | Error():
                if self.limits is None and signal.file:
                    signal = evolve(signal, file=0)  # without `next` the key is unknown
                self._receive(signal)
            case Held():
                return self._receive_answer(signal)
            case Ignored():
                pass
        return signal

    def _receive(self, signal: Ready | Close | Error) -> None:
        number = signal.file
        fatal = isinstance(signal, Error) and signal.fatal
        over = fatal and not (isinstance(signal, Error) and signal.continues)
        if number in self._open or self.limits is None:
            # A `ready` for what `send_whole` has sent is to be left unanswered (C9.6).
            sender = self._open.get(number, self._first)
            if sender is not None:
                sender.receive(signal)
        elif not over:
            self._check_answered(signal)
        answered = fatal or isinstance(signal, Close)
        # Only now: the first signal of the server states whether there can be other files.
        self.ended = self.ended or over or (fatal and self.limits is None)
        if answered:
            self._open.pop(number, None)
            self._under_way -= self._whole.pop(number, 0)

    def _receive_answer(self, held: Held) -> Held | Ignored:
        if not self.has_ask:
            return Ignored()
        question = self._question
        if question is None or held.number != question.number:
            raise RemoteProtocolError(
                FaultCode.BAD_MESSAGE, "The server answered a question that was not asked."
            )
        if not held.entries <= frozenset(range(len(question.entries))):
            raise RemoteProtocolError(
                FaultCode.BAD_MESSAGE,
                "The server's `held` is not a list of indexes of the entries that were asked for.",
            )
        self._question = None
        return held

    def _check_answered(self, signal: Ready | Close | Error) -> None:
        """Check a signal about a file that is not open: it was sent before the answer was."""
        known = 0 <= signal.file < self._count
        if not known or isinstance(signal, Close) or (isinstance(signal, Error) and signal.fatal):
            raise RemoteProtocolError(
                FaultCode.BAD_MESSAGE,
                f"The server sent a {type(signal).__name__.lower()} about a file that is not open.",
            )
