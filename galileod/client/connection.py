"""One WebSocket, from the client's side: signals both ways, file data out (wsproto).

wsproto reads: it checks frames, and says what answers a Ping or a Close. What it sends it masks in
Python, which is good enough for signals; frames with file data are made here, and masked in C.
"""

import os
import struct
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Final

import trio
from wsproto.connection import Connection as Frames
from wsproto.connection import ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, TextMessage

from galileod.masking import KEY, apply_mask, rotate_key

from .address import Address
from .dial import dial
from .errors import ConnectError, LostError, NonsenseError
from .handshake import perhaps_tls, upgrade
from .line import Silence
from .values import Options

TEXT_LIMIT: Final = 64 * 1024
"""Characters in a message from the server. A signal is a line of JSON."""

READ: Final = 16 * 1024
"""Bytes that are read at once; signals are short."""

CLOSING: Final = 2.0
"""Seconds for our Close frame to leave and the server's to come: the upload has ended by then."""

NextPart = Callable[[int], Awaitable[memoryview]]
"""Gives the next bytes of a message, at least one and at most so many."""

_LOST: Final = "The connection to the server was lost."

_BINARY: Final = 0x82
"""FIN, and the opcode of a BINARY message."""

_MASKED: Final = 0x80


class Connection:
    """What one upload needs of a WebSocket. Made by `connect`."""

    def __init__(self, stream: trio.abc.Stream, surplus: bytes, silence: Silence) -> None:
        self.silence = silence
        self._stream = stream
        self._frames = Frames(ConnectionType.CLIENT, trailing_data=surplus)
        self._send_lock = trio.Lock()
        self._torn = False
        self._broken = False
        self._pong = b""  # the latest; RFC 6455, 5.5.3: earlier ones need no answer
        self._text: list[str] = []
        self._held = 0
        self._signals: deque[str] = deque()  # at most what one read of `READ` bytes has brought
        self._ended: LostError | NonsenseError | None = None

    async def receive(self) -> str:
        """The next TEXT message. Raises LostError and NonsenseError, both after all that came."""
        while not self._signals:
            if self._ended:
                raise self._ended
            await self._take_events()
            if self._signals or self._ended:
                continue
            try:
                data = await self._stream.receive_some(READ)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                raise LostError(_LOST) from None
            if not data and self._broken:
                raise LostError(_LOST)
            if not data:
                raise LostError("The server ended the connection without a word.")
            self._frames.receive_data(bytes(data))
        return self._signals.popleft()

    async def send_text(self, text: str) -> None:
        """Send a TEXT message. Raises LostError."""
        if self._frames.state is not ConnectionState.OPEN:
            raise LostError(_LOST)
        await self._send(self._frames.send(TextMessage(text)))

    async def send_data(self, length: int, next_part: NextPart) -> None:
        """Send a BINARY message of `length` bytes, part by part. Raises LostError.

        If `next_part` fails, or this is cancelled, the connection is of no use any more.
        """
        key = os.urandom(KEY)
        async with self._send_lock:
            if self._torn or self._frames.state is not ConnectionState.OPEN:
                raise LostError(_LOST)
            # Broken too, should the server end it in here: a reset may reach the reader as an end.
            self._torn = self._broken = True
            head = _header(length, key)
            while length:
                part = await next_part(length)
                length -= len(part)
                masked = apply_mask(part, key)
                key = rotate_key(key, len(part))
                await self._send_all((head, masked) if head else (masked,))
                head = b""
            await self._send_pong()
            self._torn = self._broken = False

    async def close(self) -> None:
        """End the connection in order, as far as the server goes along; never raises."""
        with trio.move_on_after(CLOSING):
            try:
                if self._frames.state is ConnectionState.OPEN:
                    await self._send(self._frames.send(CloseConnection(1000)))
                while True:
                    await self.receive()
            except (LostError, NonsenseError):
                pass  # it has ended, which is all that is asked for

    async def _take_events(self) -> None:
        """Look at the frames that are there. What a broken frame follows is not looked at."""
        for event in self._frames.events():
            if isinstance(event, TextMessage):
                self._text.append(event.data)
                # A fragment of nothing counts as well, or there could be any number of them.
                self._held += max(1, len(event.data))
                if self._held > TEXT_LIMIT:
                    self._ended = NonsenseError("The server sent a message that is far too long.")
                elif event.message_finished:
                    self._signals.append("".join(self._text))
                    self._text, self._held = [], 0
            elif isinstance(event, BytesMessage):
                self._ended = NonsenseError("The server sent data, where only signals may come.")
            elif isinstance(event, CloseConnection):
                self._ended = await self._answer_close(event)
            elif isinstance(event, Ping) and self._frames.state is ConnectionState.OPEN:
                await self._answer_ping(self._frames.send(event.response()))
            if self._ended:
                return

    async def _answer_ping(self, pong: bytes) -> None:
        if self._send_lock.locked():
            # Whoever is sending sends it too. To wait here would be to hear nothing more, and the
            # server may say next why it reads no further.
            self._pong = pong
            return
        try:
            await self._send(pong)
        except LostError:
            pass  # what it said before is still to be read

    async def _answer_close(self, event: CloseConnection) -> LostError | NonsenseError:
        if self._frames.state is ConnectionState.REMOTE_CLOSING:
            try:
                await self._send(self._frames.send(event.response()))
            except LostError:
                pass  # it does not wait for the answer
            why = f"code {event.code}" + (f", {event.reason}" if event.reason else "")
            return LostError(f"The server closed the connection ({why}).")
        if self._frames.state is ConnectionState.CLOSED:
            return LostError("The connection is closed.")
        # wsproto's way to say that a frame broke the rules
        return NonsenseError(f"The server broke the rules of WebSocket: {event.reason}.")

    async def _send(self, frame: bytes) -> None:
        async with self._send_lock:
            if self._torn:
                raise LostError(_LOST)
            self._torn = True
            await self._send_all((frame,))
            await self._send_pong()
            self._torn = False

    async def _send_pong(self) -> None:
        """Behind the frame that was being sent as the Ping came."""
        while pong := self._pong:
            self._pong = b""
            await self._send_all((pong,))

    async def _send_all(self, pieces: Iterable[bytes]) -> None:
        try:
            for piece in pieces:
                await self._stream.send_all(piece)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._broken = True
            raise LostError(_LOST) from None


def _header(length: int, key: bytes) -> bytes:
    """RFC 6455, 5.2: the length in its shortest form."""
    if length < 126:  # noqa: PLR2004  up to there the seven bits hold it
        return struct.pack("!BB4s", _BINARY, _MASKED | length, key)
    if length < 1 << 16:
        return struct.pack("!BBH4s", _BINARY, _MASKED | 126, length, key)
    return struct.pack("!BBQ4s", _BINARY, _MASKED | 127, length, key)


@asynccontextmanager
async def connect(address: Address, options: Options) -> AsyncIterator[Connection]:
    """A WebSocket to the server; whatever happens, no socket is left at the end.

    Raises ConnectError and its kin while it opens, within `options.timeout` seconds, and LostError
    once the server, waited for, has been silent for as long.
    """
    silence = Silence(options.timeout)
    stream, surplus = await _open(address, options, silence)
    try:
        silence.moved()
        with silence.scope:
            yield Connection(stream, surplus, silence)
        if silence.scope.cancelled_caught:
            raise LostError(f"The server was silent for {silence.limit:.0f} seconds.")
    finally:
        # Forcefully: an orderly goodbye has its place before, and this may be a cancellation.
        await trio.aclose_forcefully(stream)


async def _open(
    address: Address, options: Options, silence: Silence
) -> tuple[trio.abc.Stream, bytes]:
    """A connection on which both sides speak WebSocket, and what came behind the answer."""
    with trio.CancelScope(deadline=trio.current_time() + options.timeout):
        try:
            stream = await dial(address, options.ca, silence)
            try:
                return stream, await upgrade(stream, address, options.token)
            except BaseException:
                await trio.aclose_forcefully(stream)
                raise
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise ConnectError(
                f"{address} broke the connection off as it began.{perhaps_tls(address)}"
            ) from None
    raise ConnectError(f"{address} did not answer within {options.timeout:g} seconds.")
