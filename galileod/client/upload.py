"""One attempt to send a file, on one connection. Each `ready` is answered in order."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Final, assert_never

import trio
from attrs import field, frozen

from galileod.protocol.errors import RemoteProtocolError
from galileod.protocol.messages import (
    Close,
    Error,
    HashClaim,
    Ignored,
    Last,
    Ready,
    Resumption,
)
from galileod.protocol.sender import ChunkDue, FinishedDue, UploadSender
from galileod.protocol.states import SenderState

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
from .options import Options
from .read_ahead import ReadAhead, read_ahead
from .sources import Source
from .websocket import WebSocket, open_websocket

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
    on_agreed: OnAgreed
    on_sent: OnSent


@frozen
class Outcome:
    """The server has confirmed that the file is stored: as `name`, None for the name sent."""

    name: str | None
    resumable: bool
    chunks: int
    warnings: Sequence[Signal]


async def upload(address: Address, source: Source, options: Options, attempt: Attempt) -> Outcome:
    """Send `source`, and wait until the server confirms that it is stored. Raises SendError."""
    one = _Upload(source, options, attempt)
    with one.errors_translated():
        async with (
            open_websocket(address, options) as websocket,
            # After the connection: if that fails, nothing has been read, and a source that can be
            # read only once can still be sent at the next attempt.
            read_ahead(source, attempt.hash) as ahead,
        ):
            if not attempt.begun:
                await ahead.begin(0)  # without waiting for the server to say so
            metadata = one.sender.start()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(one.send, metadata, websocket, ahead)
                end = await one.receive(websocket)
                nursery.cancel_scope.cancel()
            await websocket.close()
            resumable = one.sender.resumable
            if isinstance(end, Error):
                raise RefusedError(end.details, resumable=resumable, kept=end.kept)
    return Outcome(end.name, resumable, one.chunks, tuple(one.signals))


class _Upload:
    """The state that the two tasks of an upload share: one receives, one sends."""

    def __init__(self, source: Source, options: Options, attempt: Attempt) -> None:
        self.sender = UploadSender(source.metadata(attempt.key), options.chunksize)
        self.signals: list[Signal] = []  # at most MAX_SIGNALS
        self.chunks = 0
        self._sent = 0
        self._source = source
        self._options = options
        self._attempt = attempt
        self._ready = trio.Event()

    @property
    def _ended(self) -> bool:
        """Whether `receive` has just heard the end, so that `send` is about to be cancelled."""
        return self.sender.state in (SenderState.FAILED, SenderState.STORED)

    async def receive(self, websocket: WebSocket) -> Close | Error:
        """Handle the server's signals up to `close` or a fatal error, which is returned.

        Raises LostError, NonsenseError and RemoteProtocolError.
        """
        while True:
            signal = self.sender.receive_text(await websocket.receive())
            match signal:
                case Ready():
                    self._ready.set()
                case Close():
                    return signal
                case Error():
                    self._add_signal(signal.details)
                    if signal.fatal:
                        return signal
                case Ignored() | Last():
                    pass  # the protocol requires unknown signals to be ignored
                case _:
                    assert_never(signal)

    async def send(self, metadata: str, websocket: WebSocket, ahead: ReadAhead) -> None:
        """Send the metadata, and answer each `ready`, until cancelled. Raises LostError."""
        try:
            await websocket.send_text(metadata)
            await self._ready.wait()
            await self._begin(websocket, ahead)
            while True:
                match self.sender.next_due():
                    case ChunkDue(_, length):
                        await websocket.send_data(length, partial(self._part, websocket, ahead))
                        if not self._ended:
                            self.sender.chunk_sent(length)
                            self.chunks += 1
                    case FinishedDue():
                        await self._finish(websocket, ahead)
                    case None:
                        self._ready = trio.Event()
                        await self._ready.wait()
        except LostError:
            # The server may have sent the reason before it stopped reading: let `receive` find it.
            with trio.move_on_after(REASON_TIMEOUT):
                await trio.sleep_forever()
            raise

    async def _begin(self, websocket: WebSocket, ahead: ReadAhead) -> None:
        """The server is ready: read from where it says that the upload continues."""
        agreement = self.sender.agreement
        resumption = agreement.resumption if agreement and self.sender.resumable else None
        if resumption:
            with websocket.idle.paused():
                await self._attempt.on_agreed(resumption)
        elif self._attempt.expected:
            raise OldServerError
        self._sent = resumption.offset if resumption else 0
        if ahead.offset != self._sent:
            await ahead.begin(self._sent, resumption.check if resumption else None)

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

    async def _finish(self, websocket: WebSocket, ahead: ReadAhead) -> None:
        with websocket.idle.paused():
            await ahead.all_read.wait()
        if self._ended:
            return
        claims = [HashClaim(*pair) for pair in ahead.hash.hashes().items()]
        first = self.sender.state is SenderState.FINISHING
        await websocket.send_text(self.sender.finish(claims[0] if claims else None))
        if first:
            websocket.idle.extend(self._source.size / VERIFY_RATE)

    def _add_signal(self, signal: Signal) -> None:
        if len(self.signals) < MAX_SIGNALS:
            self.signals.append(signal)
        if self._options.on_warning and not signal.get("fatal"):
            self._options.on_warning(signal)

    @contextmanager
    def errors_translated(self) -> Iterator[None]:
        """Raise one SendError for the errors of the tasks, with the signals of the server."""
        try:
            yield
        except BaseException as raised:  # noqa: BLE001  it is always raised again
            error = _most_specific(raised)
            if isinstance(error, RemoteProtocolError):
                error = NonsenseError(
                    f"The server violated the GalileoSend protocol. {error.reason}"
                )
            finished = self.sender.state is SenderState.AWAIT_CLOSE
            if isinstance(error, LostError) and finished and not self.sender.resumable:
                error = LostError(str(error), uncertain=True)
            if isinstance(error, SendError):
                error.signals = tuple(self.signals)
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
    if all(isinstance(leaf, SendError | RemoteProtocolError) for leaf in leaves):
        return min(leaves, key=lambda leaf: isinstance(leaf, LostError))
    return error


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """The errors in a group and in the groups in it."""
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from _leaves(one)
    else:
        yield error
