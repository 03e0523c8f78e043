"""One connection to a server, and the files that are sent on it."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

import trio

from galileod.protocol.errors import LocalProtocolError, RemoteProtocolError
from galileod.protocol.files_sender import FilesSender
from galileod.protocol.messages import (
    AskEntry,
    Close,
    Error,
    HashClaim,
    Held,
    Last,
    Metadata,
    Ready,
)
from galileod.protocol.sender import UploadSender

from .address import Address
from .errors import MAX_QUOTED, LostError, NonsenseError
from .options import Options
from .websocket import WebSocket, binary_frame, open_websocket, text_frame


class Sending(Protocol):
    """Is told what the server says about a file that was begun."""

    def heard(self, signal: Ready | Error) -> None:
        """A `ready`, or an error that is not fatal."""

    def answered(self, end: Close | Error, *, over: bool) -> None:
        """The file is stored, or has failed; nothing follows. `over`: the connection too."""

    def lost(self, error: LostError | NonsenseError) -> None:
        """The connection has ended without an answer. Nothing follows."""


class Session:
    """A connection. Made by `open_session`.

    File 0 is begun with `begin`. While the session `takes_more`, further files are begun with
    `begin` or `whole`, where they fit, one after the other.
    """

    def __init__(self, websocket: WebSocket, options: Options, nursery: trio.Nursery) -> None:
        self.websocket = websocket
        self.ended = False  # no signal comes any more
        self.broken = False  # no Close frame is to be sent
        self.closing, self.closed = trio.Event(), trio.Event()  # for who holds it
        self.got_on = False  # a further file was answered
        self._options = options
        self._nursery = nursery
        self.core: FilesSender | None = None  # once file 0 was begun
        self._open: dict[int, Sending] = {}
        self._held: Held | None = None  # the answer to a question
        self._lost: LostError | NonsenseError | None = None
        self._change: trio.Event | None = None
        self._receiving = trio.CancelScope()
        self._received = trio.Event()

    @property
    def takes_more(self) -> bool:
        """Whether further files may begin on this connection, now or later."""
        return not self.ended and self.core is not None and self.core.takes_more

    @property
    def has_next(self) -> bool:
        """Whether client and server agree that the connection may have more files."""
        return self.core is not None and self.core.limits is not None

    @property
    def resumable(self) -> bool:
        """Whether files with a key can be resumed."""
        return self.core is not None and self.core.resumable

    @property
    def waits(self) -> bool:
        """Whether files were begun and have no answer."""
        return bool(self._open)

    def fits(self, size: int) -> bool:
        """Whether a file of `size` bytes may begin now."""
        return not self.ended and (self.core is None or self.core.fits(size))

    def begin(self, metadata: Metadata, sending: Sending) -> tuple[UploadSender, str]:
        """Begin a file: its sender, and its metadata, which is to be sent next."""
        if self.core is None:
            sender = UploadSender(metadata, self._options.chunksize)
            self.core = FilesSender(sender)
            self._nursery.start_soon(self._receive, self.core)
        else:
            sender = self.core.begin(metadata)
        self._add(sender.number, sending)
        return sender, sender.start()

    def whole(
        self, metadata: Metadata, claim: HashClaim | None, data: bytes, sending: Sending
    ) -> list[bytes]:
        """Begin a whole further file: its frames, which are to be sent next."""
        if self.core is None:
            raise LocalProtocolError("file 0 has not begun")
        number, begin, finished = self.core.send_whole(metadata, claim)
        self._add(number, sending)
        content = binary_frame(data) if data else ()
        return [text_frame(begin), *content, text_frame(finished)]

    async def ask(self, entries: Sequence[AskEntry]) -> Held:
        """Which of at most MAX_ASKED files the server has.

        No file may be open, and no other question. Raises LostError and NonsenseError.
        """
        if self._lost is None and self.core:
            self.websocket.idle.go_on()  # see `_answer`
            await self.websocket.send_text(self.core.ask(entries))
            while self._held is None and self._lost is None:
                await self.changed()
            self.websocket.idle.pause()
        if self._held is None:
            raise self._lost or LocalProtocolError("file 0 has not begun")
        held, self._held = self._held, None
        return held

    async def changed(self) -> None:
        """Return when a file or a question was answered, or the session takes no more files.

        Also when it has ended.
        """
        if self._change is None:
            self._change = trio.Event()
        await self._change.wait()

    async def drained(self) -> None:
        """Return when no file is without an answer."""
        while self._open:
            await self.changed()

    async def close(self) -> None:
        """The closing handshake; never raises."""
        self._receiving.cancel()  # it and the handshake would read from the socket
        await self._received.wait()
        await self.websocket.close()

    def lose(self, error: LostError | NonsenseError) -> None:
        """The connection has ended. Each file that is open gets an error of its own."""
        self.ended, self._lost = True, error
        lost, self._open = self._open, {}
        for sending in lost.values():
            sending.lost(type(error)(str(error)))
        self._tell()

    def _add(self, number: int, sending: Sending) -> None:
        if number and not self._open:
            self.websocket.idle.go_on()  # see `_answer`
        self._open[number] = sending

    async def _receive(self, core: FilesSender) -> None:
        """Receive signals up to the end of the connection."""
        try:
            with self._receiving:
                while not self.ended:
                    self._handle(core, await self.websocket.receive())
        except (LostError, NonsenseError) as error:
            self.broken = True
            self.lose(error)
        except RemoteProtocolError as error:
            self.broken = True
            reason = f"The server violated the GalileoSend protocol. {error.reason}"
            self.lose(NonsenseError(reason))
        finally:
            self._received.set()

    def _handle(self, core: FilesSender, text: str) -> None:
        match signal := core.receive_text(text):
            case Close() | Error(fatal=True):
                self._answer(core, signal)
            case Ready() | Error():
                if sending := self._open.get(signal.file):
                    sending.heard(signal)
            case Held():
                self._held = signal
                self._tell()
            case Last():
                self._tell()

    def _answer(self, core: FilesSender, signal: Close | Error) -> None:
        sending = self._open.pop(signal.file, None)
        self.got_on = self.got_on or bool(signal.file)
        over = core.ended or core.limits is None
        if sending:
            sending.answered(signal, over=over)
        if over:
            self.lose(LostError(_why_ended(signal)))
        elif not self._open:
            self.websocket.idle.pause()  # the server has nothing to say
        self._tell()

    def _tell(self) -> None:
        if self._change is not None:
            self._change.set()
            self._change = None


def _why_ended(signal: Close | Error) -> str:
    reason = signal.reason if isinstance(signal, Error) else None
    quoted = f": {reason[:MAX_QUOTED]}" if isinstance(reason, str) else "."
    return f"The server ended the connection{quoted}"


@asynccontextmanager
async def open_session(address: Address, options: Options) -> AsyncIterator[Session]:
    """A session with the server. Raises as `open_websocket` does."""
    async with open_websocket(address, options) as websocket, trio.open_nursery() as nursery:
        yield Session(websocket, options, nursery)
        nursery.cancel_scope.cancel()


async def hold_session(
    address: Address, options: Options, task_status: trio.TaskStatus[Session]
) -> None:
    """A task for a session of others: up to its `closing`. Raises as `open_websocket` does."""
    held: list[Session] = []
    try:
        async with open_session(address, options) as session:
            held.append(session)
            task_status.started(session)
            await session.closing.wait()
            if not session.broken:
                await session.close()
    except LostError as error:  # the server was silent
        for one in held:
            one.lose(error)
    finally:
        for one in held:
            one.closed.set()
