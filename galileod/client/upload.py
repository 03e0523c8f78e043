"""One upload, from the dialing to the receipt. Each `ready` is answered in its turn."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final, assert_never

import trio

from galileod.protocol.errors import RemoteProtocolError
from galileod.protocol.messages import Close, Error, HashClaim, Ignored, Ready
from galileod.protocol.sender import ChunkDue, FinishedDue, UploadSender
from galileod.protocol.states import SenderState

from .address import Address
from .connection import Connection, connect
from .errors import QUOTED, LostError, NonsenseError, RefusedError, SendError, Signal
from .pieces import Pieces, read_ahead
from .sources import Source
from .values import OnProgress, Options, Progress, Receipt

LAST_WORDS: Final = 5.0
"""Seconds in which a server that takes no more data may still say why."""

VERIFYING: Final = 20_000_000
"""Bytes a second that a server reads back at the least, before it says `close`: some hash then."""

MAX_SIGNALS: Final = 100
"""Errors of one upload that are kept; a server that goes on about it is heard, and not noted."""


async def upload(
    address: Address, source: Source, options: Options, on_progress: OnProgress | None = None
) -> Receipt:
    """Send it, and wait until the server says that it is stored. Raises SendError."""
    one = _Upload(source, options, on_progress)
    with one.errors_told():
        async with (
            connect(address, options) as connection,
            # Not before: what can be read only once is still whole if there is no connection.
            read_ahead(source, options.hash) as pieces,
        ):
            metadata = one.sender.start()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(one.talk, metadata, connection, pieces)
                end = await one.listen(connection)
                nursery.cancel_scope.cancel()
            seconds = one.seconds
            await connection.close()
            if isinstance(end, Error):
                raise RefusedError(end.details)
    hashes = pieces.hash.hashes()
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
    """What the two tasks of an upload share: the one that listens, and the one that answers."""

    def __init__(self, source: Source, options: Options, on_progress: OnProgress | None) -> None:
        self.sender = UploadSender(source.name, source.size, options.chunksize)
        self.signals: list[Signal] = []
        self.chunks = 0
        self._sent = 0
        self._source = source
        self._options = options
        self._on_progress = on_progress
        self._ready = trio.Event()
        self._began = trio.current_time()

    @property
    def seconds(self) -> float:
        """How long it has been going on."""
        return trio.current_time() - self._began

    async def listen(self, connection: Connection) -> Close | Error:
        """Take in what the server says, up to its `close` or a fatal error.

        Raises LostError, NonsenseError and RemoteProtocolError for any other end.
        """
        while True:
            signal = self.sender.receive_text(await connection.receive())
            match signal:
                case Ready():
                    self._ready.set()
                case Close():
                    return signal
                case Error():
                    self._note(signal.details)
                    if signal.fatal:
                        return signal
                case Ignored():
                    pass  # so the protocol has it
                case _:
                    assert_never(signal)

    async def talk(self, metadata: str, connection: Connection, pieces: Pieces) -> None:
        """Send the metadata, and answer each `ready`, for as long as there is a connection."""
        try:
            await connection.send_text(metadata)
            while True:
                match self.sender.next_due():
                    case ChunkDue(_, length):
                        await connection.send_data(length, partial(self._part, connection, pieces))
                        self.sender.chunk_sent(length)
                        self.chunks += 1
                    case FinishedDue():
                        await self._finish(connection, pieces)
                    case None:
                        self._ready = trio.Event()
                        await self._ready.wait()
        except LostError:
            # The server may have said why before it stopped to read. That is for `listen` to hear.
            with trio.move_on_after(LAST_WORDS):
                await trio.sleep_forever()
            raise

    async def _part(self, connection: Connection, pieces: Pieces, at_most: int) -> memoryview:
        """The next bytes of the file, and a word about those before."""
        pace = self._options.pace
        with connection.silence.ours():
            part = await pieces.next(min(at_most, pace.part) if pace else at_most)
            if pace:
                await pace.wait(len(part))
        self._sent += len(part)
        if self._on_progress:
            self._on_progress(Progress(self._sent, self._source.size, self.seconds))
        return part

    async def _finish(self, connection: Connection, pieces: Pieces) -> None:
        with connection.silence.ours():
            await pieces.all_read.wait()
        claims = [HashClaim(*pair) for pair in pieces.hash.hashes().items()]
        first = self.sender.state is SenderState.FINISHING
        await connection.send_text(self.sender.finish(claims[0] if claims else None))
        if first:
            connection.silence.extend(self._source.size / VERIFYING)

    def _note(self, signal: Signal) -> None:
        if len(self.signals) < MAX_SIGNALS:
            self.signals.append(signal)
        if self._options.on_warning and not signal.get("fatal"):
            self._options.on_warning(signal)

    @contextmanager
    def errors_told(self) -> Iterator[None]:
        """One error for all that came out of the tasks, with what the server had said by then."""
        try:
            yield
        except BaseException as raised:  # noqa: BLE001  it is raised again, whatever it is
            error = _the_one(raised)
            if isinstance(error, RemoteProtocolError):
                error = NonsenseError(f"The server broke the rules of GalileoSend. {error.reason}")
            if isinstance(error, LostError) and self.sender.state is SenderState.AWAIT_CLOSE:
                error = LostError(str(error), uncertain=True)
            if isinstance(error, SendError):
                error.signals = tuple(self.signals)
                _tell_warnings(error)
            raise error from None


def _tell_warnings(error: SendError) -> None:
    """A server that reported a problem and then hung up has said why."""
    told = [signal.get("error") for signal in error.signals if not signal.get("fatal")]
    if isinstance(error, LostError) and told and isinstance(told[-1], str):
        error.args = (f"{error} Before that it had said: {told[-1][:QUOTED]}",)


def _the_one(error: BaseException) -> BaseException:
    """The error that says most where several tasks failed at once; their group if none does."""
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
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from _leaves(one)
    else:
        yield error
