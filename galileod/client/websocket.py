"""The client's end of one WebSocket: TEXT messages both ways, BINARY messages out (wsproto).

wsproto parses the server's frames and makes the responses to Ping and Close. It masks in Python, so
the frames of messages are made here, and masked in C.
"""

import os
import struct
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

import trio
from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, TextMessage

from galileod.masking import KEY, apply_mask, rotate_key

from .address import Address
from .errors import ConnectError, LostError, NonsenseError
from .handshake import tls_hint, upgrade
from .idle import IdleTimeout
from .options import Options, Pace
from .stream import open_stream

MAX_MESSAGE: Final = 64 * 1024
"""Maximum characters of a message from the server; a signal has a few hundred."""

READ_SIZE: Final = 16 * 1024
"""Bytes of one read; signals are short."""

CLOSE_TIMEOUT: Final = 2.0
"""Maximum seconds for the closing handshake, which begins after the end of the upload."""

Bytes = bytes | memoryview

NextPart = Callable[[int], Awaitable[memoryview]]
"""Returns the next bytes of a message: at least one, at most the number passed."""

_LOST: Final = "The connection to the server was lost."

_TEXT: Final = 0x1
_BINARY: Final = 0x2
_CONTINUATION: Final = 0x0
_FIN: Final = 0x80
_MASKED: Final = 0x80


class WebSocket:
    """One open WebSocket. Made by `open_websocket`."""

    def __init__(self, stream: trio.abc.Stream, surplus: bytes, idle: IdleTimeout) -> None:
        """`surplus` are the bytes that came with the response to the upgrade."""
        self.idle = idle
        self._stream = stream
        self._protocol = Connection(ConnectionType.CLIENT, trailing_data=surplus)
        self._send_lock = trio.Lock()
        self._incomplete = False  # a frame was begun and not sent to its end
        self._in_message = False  # a fragment was sent, and not the last one of its message
        self._broken = False  # sending has failed
        self._pong = b""  # the latest; RFC 6455, 5.5.3: earlier ones may be left out
        self._fragments: list[str] = []
        self._length = 0  # of the fragments; at most MAX_MESSAGE
        self._messages: deque[str] = deque()  # at most what one read of READ_SIZE has brought
        self._end: LostError | NonsenseError | None = None

    async def receive(self) -> str:
        """The next TEXT message.

        Raises LostError and NonsenseError, both after all messages that came before.
        """
        while not self._messages:
            if self._end:
                raise self._end
            await self._handle_events()
            if self._messages or self._end:
                continue
            try:
                data = await self._stream.receive_some(READ_SIZE)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                raise LostError(_LOST) from None
            if not data and self._broken:
                raise LostError(_LOST)
            if not data:
                raise LostError("The server closed the connection without a Close frame.")
            self._protocol.receive_data(bytes(data))
        return self._messages.popleft()

    async def send_text(self, text: str) -> None:
        """Send a TEXT message. Raises LostError."""
        async with self._send_lock:
            await self._send_whole((text_frame(text),))

    async def send_data(self, length: int, next_part: NextPart) -> None:
        """Send a BINARY message of `length` bytes, part by part. Raises LostError.

        If `next_part` fails or this is cancelled, nothing more can be sent.
        """
        key = os.urandom(KEY)
        async with self._send_lock:
            if self._incomplete or self._protocol.state is not ConnectionState.OPEN:
                raise LostError(_LOST)
            # `_broken` as well: if the server resets the connection during the sending, `receive`
            # may get only the end of the stream. It then reports a lost connection, and not that
            # the server closed it.
            self._incomplete = self._broken = True
            head = _header(_FIN | _BINARY, length, key)
            while length:
                part = await next_part(length)
                length -= len(part)
                masked = apply_mask(part, key)
                key = rotate_key(key, len(part))
                await self._send_all((head, masked) if head else (masked,))
                head = b""
            await self._send_pong()
            self._incomplete = self._broken = False

    async def send_fragments(
        self,
        length: int,
        next_part: NextPart,
        stopped: Callable[[], bool],
        scope: trio.CancelScope,
    ) -> int:
        """Send a BINARY message of at most `length` bytes, each part in a fragment of its own.

        If `stopped`, the message ends before, so that others can follow. Returns its length; 0 if
        there was none. Raises LostError.

        Within a fragment only `scope` can cancel this: it is shielded meanwhile. If this is
        cancelled otherwise, or `next_part` fails, `end_message` is to be called before others
        follow.
        """
        left = length
        async with self._send_lock:
            while left and not stopped():
                part = await next_part(left)
                opcode = _CONTINUATION if self._in_message else _BINARY
                left -= len(part)
                with shielded(scope):
                    await self._send_whole(frame(opcode if left else _FIN | opcode, part))
                self._in_message = left > 0
        if self._in_message:
            await self.end_message()
        return length - left

    async def end_message(self) -> None:
        """End the message of `send_fragments`, if it is not ended. Raises LostError."""
        async with self._send_lock:
            if self._in_message:
                await self._send_whole(frame(_FIN | _CONTINUATION, b""))
                self._in_message = False

    async def send_frames(self, frames: bytes, pace: Pace | None) -> None:
        """Send frames that were made before, at the rate of `pace`. Raises LostError."""
        view = memoryview(frames)
        step = pace.part if pace else max(1, len(view))
        async with self._send_lock:
            self._begin_frame()
            for at in range(0, len(view), step):
                part = view[at : at + step]
                if pace:
                    with self.idle.paused():
                        await pace.wait(len(part))
                await self._send_all((part,))
            await self._end_frame()

    async def close(self) -> None:
        """The closing handshake, for at most CLOSE_TIMEOUT; never raises."""
        # The result is known by then, and must not become a LostError.
        with self.idle.paused(), trio.move_on_after(CLOSE_TIMEOUT):
            try:
                if self._protocol.state is ConnectionState.OPEN:
                    await self._send(self._protocol.send(CloseConnection(1000)))
                while True:
                    await self.receive()
            except (LostError, NonsenseError):
                pass  # the connection has ended, which is the purpose

    async def _handle_events(self) -> None:
        """Handle the frames that were received, up to one that ends the connection."""
        for event in self._protocol.events():
            if isinstance(event, TextMessage):
                self._add_fragment(event)
            elif isinstance(event, BytesMessage):
                self._end = NonsenseError(
                    "The server sent a BINARY message, but only TEXT messages are allowed."
                )
            elif isinstance(event, CloseConnection):
                self._end = await self._answer_close(event)
            elif isinstance(event, Ping) and self._protocol.state is ConnectionState.OPEN:
                await self._answer_ping(self._protocol.send(event.response()))
            if self._end:
                return

    def _add_fragment(self, event: TextMessage) -> None:
        self._fragments.append(event.data)
        # An empty fragment counts as one character, so that their number is limited as well.
        self._length += max(1, len(event.data))
        if self._length > MAX_MESSAGE:
            self._end = NonsenseError(
                f"The server sent a message of more than {MAX_MESSAGE} characters."
            )
        elif event.message_finished:
            self._messages.append("".join(self._fragments))
            self._fragments, self._length = [], 0

    async def _answer_ping(self, pong: bytes) -> None:
        if self._send_lock.locked():
            # The task that is sending a frame sends the Pong after it. Waiting for the lock here
            # would stop receiving, and the server may be about to send an error signal.
            self._pong = pong
            return
        try:
            await self._send(pong)
        except LostError:
            pass  # messages that came before may still be read

    async def _answer_close(self, event: CloseConnection) -> LostError | NonsenseError:
        if self._protocol.state is ConnectionState.REMOTE_CLOSING:
            try:
                await self._send(self._protocol.send(event.response()))
            except LostError:
                pass  # the server does not wait for the response
            why = f"code {event.code}" + (f", {event.reason}" if event.reason else "")
            return LostError(f"The server closed the connection ({why}).")
        if self._protocol.state is ConnectionState.CLOSED:
            return LostError("The connection is closed.")
        # wsproto reports an invalid frame in this way.
        return NonsenseError(f"The server violated the WebSocket protocol: {event.reason}.")

    async def _send(self, control: bytes) -> None:
        async with self._send_lock:
            if self._incomplete:
                raise LostError(_LOST)
            self._incomplete = True
            await self._send_all((control,))
            await self._end_frame()

    async def _send_whole(self, parts: Iterable[Bytes]) -> None:
        """Send a frame. To be called with the lock."""
        self._begin_frame()
        await self._send_all(parts)
        await self._end_frame()

    def _begin_frame(self) -> None:
        if self._incomplete or self._protocol.state is not ConnectionState.OPEN:
            raise LostError(_LOST)
        self._incomplete = True

    async def _end_frame(self) -> None:
        await self._send_pong()
        self._incomplete = False

    async def _send_pong(self) -> None:
        """The response to a Ping that came while a frame was being sent."""
        while pong := self._pong:
            self._pong = b""
            await self._send_all((pong,))

    async def _send_all(self, parts: Iterable[Bytes]) -> None:
        try:
            for part in parts:
                await self._stream.send_all(part)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._broken = True
            raise LostError(_LOST) from None


@contextmanager
def shielded(scope: trio.CancelScope) -> Iterator[None]:
    """In the block, the scopes around `scope` cannot cancel; it can itself."""
    scope.shield = True
    try:
        yield
    finally:
        scope.shield = False


def text_frame(text: str) -> bytes:
    """A TEXT message, masked."""
    return b"".join(frame(_FIN | _TEXT, text.encode()))


def binary_frame(data: Bytes) -> tuple[bytes, bytes]:
    """The header and the masked payload of a BINARY message."""
    return frame(_FIN | _BINARY, data)


def frame(opcode: int, data: Bytes) -> tuple[bytes, bytes]:
    """The header and the masked payload of a frame; `opcode` has the bit FIN too."""
    key = os.urandom(KEY)
    return _header(opcode, len(data), key), apply_mask(data, key)


def _header(opcode: int, length: int, key: bytes) -> bytes:
    """A frame's header with the shortest form of the length (RFC 6455, 5.2)."""
    if length < 126:  # noqa: PLR2004  the limit of the seven bits
        return struct.pack("!BB4s", opcode, _MASKED | length, key)
    if length < 1 << 16:
        return struct.pack("!BBH4s", opcode, _MASKED | 126, length, key)
    return struct.pack("!BBQ4s", opcode, _MASKED | 127, length, key)


@asynccontextmanager
async def open_websocket(address: Address, options: Options) -> AsyncIterator[WebSocket]:
    """A WebSocket to the server. The socket is closed at the end, whatever happens.

    Raises ConnectError and its subclasses if it cannot be opened within `options.timeout` seconds,
    and LostError after as many seconds without activity while waiting for the server.
    """
    idle = IdleTimeout(options.timeout)
    stream, surplus = await _open(address, options, idle)
    try:
        idle.activity()
        with idle.scope:
            yield WebSocket(stream, surplus, idle)
        if idle.scope.cancelled_caught:
            raise LostError(f"The server was silent for {idle.limit:.0f} seconds.")
    finally:
        # Forcefully: `close` has done the closing handshake, unless this is a cancellation.
        await trio.aclose_forcefully(stream)


async def _open(
    address: Address, options: Options, idle: IdleTimeout
) -> tuple[trio.abc.Stream, bytes]:
    """A stream on which the upgrade has succeeded, and the bytes that came after the response."""
    accepted = trio.Event()
    with trio.CancelScope(deadline=trio.current_time() + options.timeout):
        try:
            stream = await open_stream(address, options.ca, idle, accepted)
            try:
                return stream, await upgrade(stream, address, options.token)
            except BaseException:
                await trio.aclose_forcefully(stream)
                raise
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise ConnectError(
                f"The server at {address} closed the connection during the handshake."
                f"{tls_hint(address)}"
            ) from None
    raise ConnectError(
        f"The server at {address} did not answer within {options.timeout:g} seconds.",
        unreached=not accepted.is_set(),
    )
