"""One attempt to send a file. Each `ready` is answered in order."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Final

import trio
from attrs import evolve, field, frozen

from galileod.protocol.errors import LocalProtocolError
from galileod.protocol.messages import (
    NEXT,
    Close,
    Error,
    HashClaim,
    Metadata,
    Ready,
    Resumption,
)
from galileod.protocol.sender import ChunkDue, FinishedDue, UploadSender
from galileod.protocol.states import SenderState

from .abandoning import MAX_WAIT
from .address import Address
from .errors import (
    MAX_QUOTED,
    LostError,
    NonsenseError,
    OldServerError,
    RefusedError,
    SendError,
    Signal,
)
from .hashing import FileHash
from .idle import IdleTimeout
from .options import Options
from .read_ahead import ReadAhead, read_ahead
from .session import Session, open_session
from .sources import Source
from .websocket import WebSocket, shielded

REASON_TIMEOUT: Final = 5.0
"""Seconds to wait for an error signal after sending has failed: the server may have stopped reading
and be about to send the reason."""

VERIFY_RATE: Final = 20_000_000
"""Bytes per second. The idle timeout is extended by the time to hash the file at this rate, since
some servers read the whole file back to verify the hash after `finished`."""

MAX_SIGNALS: Final = 100
"""Maximum error signals of one upload that are kept."""


OnAgreed = Callable[[Resumption], Awaitable[None]]
"""Called before the first byte is sent, if the upload can be resumed."""

OnBegun = Callable[[], None]
"""Called when the file is begun on a connection whose uploads can be resumed."""

OnSent = Callable[[int], None]
"""Called with the position in the file up to which it was passed to the network."""


@frozen
class Attempt:
    """What one attempt to send a file is to do.

    `key` is the upload's key, None if it is not to be resumed; `begun`: the server may have a part
    of it. If the server is `expected` to be able to resume, one that cannot is an OldServerError.
    """

    key: str | None = field(repr=False)
    begun: bool
    expected: bool
    hash: FileHash
    on_begun: OnBegun
    on_agreed: OnAgreed
    on_sent: OnSent


@frozen
class Outcome:
    """The server has confirmed that the file is stored: as `name`, None for the name sent.

    `path` is where that is, with its folders; None if the server does not say so.
    """

    name: str | None
    resumable: bool
    chunks: int
    warnings: Sequence[Signal]
    path: str | None = None


async def upload(address: Address, source: Source, options: Options, attempt: Attempt) -> Outcome:
    """Send `source` on a connection of its own, and wait until the server has stored it.

    Raises SendError.
    """
    one = Upload(source, options, attempt)
    with one.errors_translated():
        async with open_session(address, options) as session:
            await one.send(session)
            await one.ended()
            await session.close()
        return one.outcome()


class Upload:
    """One attempt to send a file on a session."""

    def __init__(
        self, source: Source, options: Options, attempt: Attempt, *, with_next: bool = False
    ) -> None:
        """`with_next`: there are further files that the connection could have."""
        self._source = source
        self._options = options
        self._attempt = attempt
        self._with_next = with_next
        self._sender: UploadSender | None = None
        self._idle: IdleTimeout | None = None
        self._signals: list[Signal] = []  # at most MAX_SIGNALS
        self._chunks = 0
        self._sent = 0
        self._verifying = 0.0  # seconds by which the idle timeout is extended
        self._ready = trio.Event()
        self._done = trio.Event()
        self._stop = trio.CancelScope()  # of `_send`, but not within a frame if others may follow
        self._scope = trio.CancelScope()  # of `_send`, at once
        self._end: Close | Error | None = None
        self._error: SendError | None = None

    def heard(self, signal: Ready | Error) -> None:
        """See `Sending`."""
        if isinstance(signal, Error):
            self._add_signal(signal.details)
        else:
            self._ready.set()

    def answered(self, end: Close | Error, *, over: bool) -> None:
        """See `Sending`."""
        if isinstance(end, Error):
            self._add_signal(end.details)
        self._end = end
        if self._idle:
            self._idle.extend(-self._verifying)
        self._finish(abort=over)

    def lost(self, error: LostError | NonsenseError) -> None:
        """See `Sending`."""
        self._error = error
        self._finish(abort=True)

    def _finish(self, *, abort: bool) -> None:
        """End `send`: behind a whole message, unless nothing follows on this connection."""
        self._done.set()
        self._stop.cancel()
        if abort:
            self._scope.cancel()

    async def ended(self) -> None:
        """Return when the server has answered. Raises LostError and NonsenseError."""
        await self._done.wait()
        if self._error:
            raise self._error

    def outcome(self) -> Outcome:
        """What the server has answered. Raises RefusedError."""
        if self._end is None:
            raise LocalProtocolError("the file has no answer")
        sender = self._sender
        resumable = sender is not None and sender.resumable
        if isinstance(self._end, Error):
            extended = self._attempt.begun or (sender is not None and sender.has_next)
            raise RefusedError(
                self._end.details, resumable=resumable, extended=extended, kept=self._end.kept
            )
        signals = tuple(self._signals)
        return Outcome(self._end.name, resumable, self._chunks, signals, self._end.path)

    async def send(self, session: Session) -> None:
        """Send the file up to its `finished`, or until it is answered; `ended` tells how.

        Raises SendError, alone or in groups. If the session goes on, the file is abandoned then.
        """
        try:
            async with read_ahead(self._source, self._attempt.hash) as ahead:
                if not self._attempt.begun:
                    await ahead.begin(0)  # without waiting for the server to say so
                with self._stop, self._scope:
                    await self._send(session, ahead)
            if session.has_next and not session.ended:
                await session.websocket.end_message()
        except BaseException as raised:
            if isinstance(_most_specific(raised), SendError):
                await self._abandon(session)
            raise

    async def _send(self, session: Session, ahead: ReadAhead) -> None:
        websocket, self._idle = session.websocket, session.websocket.idle
        try:
            with self._whole_frames(session.has_next):
                sender, text = session.begin(self._metadata(first=session.core is None), self)
                self._sender = sender
                if sender.number and self._attempt.key and session.resumable:
                    self._attempt.on_begun()
                await websocket.send_text(text)
            if sender.next_due() is None:  # it is not sent whole
                await self._ready.wait()
            await self._begin(sender, websocket, ahead)
            while not self._done.is_set():
                match sender.next_due():
                    case ChunkDue(_, length):
                        await self._send_chunk(length, sender, websocket, ahead)
                    case FinishedDue():
                        await self._send_finished(sender, websocket, ahead)
                    case None if sender.has_next and sender.state is SenderState.AWAIT_CLOSE:
                        return
                    case None:
                        self._ready = trio.Event()
                        await self._ready.wait()
        except LostError:
            # The server may have sent the reason before it stopped reading: `receive` finds it.
            with trio.move_on_after(REASON_TIMEOUT):
                await self._done.wait()
            if not self._done.is_set():
                raise

    def _whole_frames(self, has_next: bool) -> AbstractContextManager[None]:
        """With `has_next`, the frames of the block are sent whole even if the file has failed."""
        return shielded(self._scope) if has_next else nullcontext()

    def _metadata(self, *, first: bool) -> Metadata:
        """The metadata. What the server can is asked with the first file of a connection."""
        metadata = self._source.metadata(self._attempt.key)
        can = set(metadata.can or ()) | ({NEXT} if self._with_next else set())
        return evolve(metadata, can=frozenset(can) if first and can else None)

    async def _begin(self, sender: UploadSender, websocket: WebSocket, ahead: ReadAhead) -> None:
        """The server is ready: read from where it says that the upload continues."""
        if self._done.is_set():
            return
        resumption = sender.resumption
        if resumption is None and sender.number and sender.resumable:
            resumption = Resumption(0, 0)  # it is sent whole
        if resumption:
            with websocket.idle.paused():
                await self._attempt.on_agreed(resumption)
        elif self._attempt.expected:
            raise OldServerError
        self._sent = resumption.offset if resumption else 0
        if ahead.offset != self._sent:
            await ahead.begin(self._sent, resumption.check if resumption else None)

    async def _send_chunk(
        self, length: int, sender: UploadSender, websocket: WebSocket, ahead: ReadAhead
    ) -> None:
        part = partial(self._part, websocket, ahead)
        if sender.has_next:
            stopped = self._done.is_set
            length = await websocket.send_fragments(length, part, stopped, self._scope)
        else:
            await websocket.send_data(length, part)
        if not self._done.is_set():
            sender.chunk_sent(length)
            self._chunks += 1

    async def _part(self, websocket: WebSocket, ahead: ReadAhead, at_most: int) -> memoryview:
        """Return the next bytes of the file when the rate limit allows it; report the progress."""
        pace = self._options.pace
        with websocket.idle.paused():
            part = await ahead.next(min(at_most, pace.part) if pace else at_most)
            if pace:
                await pace.wait(len(part))
        self._sent += len(part)
        self._attempt.on_sent(self._sent)
        return part

    async def _send_finished(
        self, sender: UploadSender, websocket: WebSocket, ahead: ReadAhead
    ) -> None:
        with websocket.idle.paused():
            await ahead.all_read.wait()
        if self._done.is_set():
            return
        claims = [HashClaim(*pair) for pair in ahead.hash.hashes().items()]
        first = sender.state is SenderState.FINISHING
        text = sender.finish(claims[0] if claims else None)
        if first:
            self._verifying = self._source.size / VERIFY_RATE
        with self._whole_frames(sender.has_next):
            await websocket.send_text(text)
        if first and not self._done.is_set():
            websocket.idle.extend(self._verifying)

    async def _abandon(self, session: Session) -> None:
        """Abandon the file, if the session goes on, and wait for the answer.

        Others can follow then: a session on which they could not is given up.
        """
        sender = self._sender
        if not (sender and sender.has_next) or session.ended:
            return
        clear = False
        with trio.move_on_after(MAX_WAIT):
            try:
                await session.websocket.end_message()
                if not self._done.is_set():
                    await session.websocket.send_text(sender.abandon())
                clear = True
                await self._done.wait()
            except LostError:
                pass  # see below
        if not clear:
            session.broken = True
            session.lose(LostError("The connection was lost."))

    def _add_signal(self, signal: Signal) -> None:
        if len(self._signals) < MAX_SIGNALS:
            self._signals.append(signal)
        if self._options.on_warning and not signal.get("fatal"):
            self._options.on_warning(signal)

    @contextmanager
    def errors_translated(self) -> Iterator[None]:
        """Raise one SendError for the errors of the tasks, with the signals of the server."""
        try:
            yield
        except BaseException as raised:  # noqa: BLE001  it is always raised again
            error = _most_specific(raised)
            sender = self._sender
            finished = sender is not None and sender.state is SenderState.AWAIT_CLOSE
            if isinstance(error, LostError) and finished and not (sender and sender.resumable):
                error = LostError(str(error), uncertain=True)
            if isinstance(error, SendError):
                error.signals = tuple(self._signals)
                _append_last_warning(error)
            raise error from None


def _append_last_warning(error: SendError) -> None:
    """Quote the last warning in a LostError: it may be why the server closed the connection."""
    warnings = [signal.get("error") for signal in error.signals if not signal.get("fatal")]
    if isinstance(error, LostError) and warnings and isinstance(warnings[-1], str):
        error.args = (f"{error} Before that the server reported: {warnings[-1][:MAX_QUOTED]}",)


def _most_specific(error: BaseException) -> BaseException:
    """Of several simultaneous errors the most specific; the group if some are unexpected."""
    leaves = list(_leaves(error))
    if len(leaves) == 1:
        return leaves[0]
    for leaf in leaves:
        if isinstance(leaf, KeyboardInterrupt):
            return leaf
    if all(isinstance(leaf, SendError) for leaf in leaves):
        return min(leaves, key=lambda leaf: isinstance(leaf, LostError))
    return error


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """The errors in a group and in the groups in it."""
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from _leaves(one)
    else:
        yield error
