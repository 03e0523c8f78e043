"""One upload, from opening the connection to the receipt. Each `ready` is answered in order."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final, assert_never

import trio

from galileod.protocol.errors import RemoteProtocolError
from galileod.protocol.messages import Close, Error, HashClaim, Ignored, Metadata, Ready
from galileod.protocol.sender import ChunkDue, FinishedDue, UploadSender
from galileod.protocol.states import SenderState

from .address import Address
from .errors import MAX_QUOTED, LostError, NonsenseError, RefusedError, SendError, Signal
from .options import OnProgress, Options, Progress, Receipt
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


async def upload(
    address: Address, source: Source, options: Options, on_progress: OnProgress | None = None
) -> Receipt:
    """Send `source`, and wait until the server confirms that it is stored. Raises SendError."""
    one = _Upload(source, options, on_progress)
    with one.errors_translated():
        async with (
            open_websocket(address, options) as websocket,
            # After the connection: if that fails, nothing has been read, and a source that can be
            # read only once can still be sent at the next attempt.
            read_ahead(source, options.hash) as ahead,
        ):
            metadata = one.sender.start()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(one.send, metadata, websocket, ahead)
                end = await one.receive(websocket)
                nursery.cancel_scope.cancel()
            seconds = one.seconds
            await websocket.close()
            if isinstance(end, Error):
                raise RefusedError(end.details)
    hashes = ahead.hash.hashes()
    return Receipt(
        name=source.name,
        stored_name=end.name or source.name,
        size=source.size,
        hashes=hashes,
        seconds=seconds,
        chunks=one.chunks,
        verified=bool(hashes),
        warnings=tuple(one.signals),
    )


class _Upload:
    """The state that the two tasks of an upload share: one receives, one sends."""

    def __init__(self, source: Source, options: Options, on_progress: OnProgress | None) -> None:
        self.sender = UploadSender(Metadata(source.name, source.size), options.chunksize)
        self.signals: list[Signal] = []  # at most MAX_SIGNALS
        self.chunks = 0
        self._sent = 0
        self._source = source
        self._options = options
        self._on_progress = on_progress
        self._ready = trio.Event()
        self._began = trio.current_time()

    @property
    def seconds(self) -> float:
        """The time since the start."""
        return trio.current_time() - self._began

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
                case Ignored():
                    pass  # the protocol requires unknown signals to be ignored
                case _:
                    assert_never(signal)

    async def send(self, metadata: str, websocket: WebSocket, ahead: ReadAhead) -> None:
        """Send the metadata, and answer each `ready`, until cancelled. Raises LostError."""
        try:
            await websocket.send_text(metadata)
            while True:
                match self.sender.next_due():
                    case ChunkDue(_, length):
                        await websocket.send_data(length, partial(self._part, websocket, ahead))
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

    async def _part(self, websocket: WebSocket, ahead: ReadAhead, at_most: int) -> memoryview:
        """Return the next bytes of the file when the rate limit allows it; report the progress."""
        pace = self._options.pace
        with websocket.idle.paused():
            part = await ahead.next(min(at_most, pace.part) if pace else at_most)
            if pace:
                await pace.wait(len(part))
        self._sent += len(part)
        if self._on_progress:
            self._on_progress(Progress(self._sent, self._source.size, self.seconds))
        return part

    async def _finish(self, websocket: WebSocket, ahead: ReadAhead) -> None:
        with websocket.idle.paused():
            await ahead.all_read.wait()
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
            if isinstance(error, LostError) and self.sender.state is SenderState.AWAIT_CLOSE:
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
