"""WebSocket messages over a byte stream: the only importer of trio-websocket and wsproto.

trio-websocket reads: it checks frames, puts messages together and answers pings. What it reads
passes through `_GuardedStream` first, which does what the library leaves open:

- it hands the library a request head of our own making, so that no header of a peer reaches it;
- it holds everything after the head back until the upgrade is answered (the library would drop it);
- it refuses a frame that announces too much on its header, counts bytes as they come, and keeps
  the socket open when the library closes it, so that we can still say why;
- it keeps the payload of BINARY messages for itself, which the library would copy four times over.

Sending is ours, since the library sends nothing more once a connection has failed; frames are
made by wsproto, and a lock keeps them whole beside the library's pongs.
"""

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_server_stream
from wsproto.connection import Connection, ConnectionType
from wsproto.events import CloseConnection, TextMessage

from galileod.masking import apply_mask
from galileod.shutdown import Interrupt

from .frames import PART, BinaryMessage, FrameSplitter, FrameTooLarge, MessagePart

READ_UNGRANTED: Final = 16 * 1024
"""Bytes read at a time beyond what was granted: all that a peer which was granted nothing can make
us hold is this, the library's message in the making (`TEXT_LIMIT` at most), and one such message on
its way to us."""

READ: Final = 1024 * 1024
"""Bytes read at a time at the most. The event loop costs some 200 microseconds a turn, so that
the library's default of 4 KiB costs three quarters of the throughput."""

FRAMES_AT_ONCE: Final = 64
"""Frames that the library is given before others have their turn: a flood of empty ones costs it
forty microseconds each."""

CLOSE_SENDING: Final = 1.0
"""Seconds for our own Close frame to leave, and for its answer to come."""

_CLOSE_FRAME: Final = 0x88


class TransportClosed(Exception):  # noqa: N818  the ordinary end of a connection
    """The connection is gone; the text says how. `code` is the WebSocket close code."""

    def __init__(self, reason: str, code: int = 1006) -> None:
        super().__init__(reason)
        self.code = code


class PeerSilent(Exception):  # noqa: N818  a verdict about the peer, not an error of ours
    """Not one byte came for as long as was allowed."""


class StillComing(Exception):  # noqa: N818  a verdict about the peer, not an error of ours
    """Bytes came, but no whole message within the time that was given."""


class FrameError(Exception):
    """The peer broke the rules of RFC 6455. `code` is the close code that says so."""

    def __init__(self, reason: str, code: int) -> None:
        super().__init__(reason)
        self.code = code


Message = str | BinaryMessage | MessagePart
"""What comes in: a TEXT message, the end of a BINARY one, or a part of one before that."""


class _GuardedStream(trio.abc.Stream):
    """What trio-websocket takes for the connection. Parts of messages go to `parts` from here."""

    def __init__(
        self,
        stream: trio.abc.Stream,
        key: bytes,
        surplus: bytes,
        parts: trio.MemorySendChannel[Message | None],
        part_size: int,
    ) -> None:
        self._stream = stream
        self._parts = parts
        self._head = (
            b"GET / HTTP/1.1\r\nHost: galileod\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + key + b"\r\n\r\n"
        )
        self._surplus = surplus
        self._unwalked = b""
        self._send_lock = trio.Lock()
        self._torn = False
        # The one place where unmasking in C is plugged in: wsproto's own, in Python, is ten times
        # slower, and now sees signals only.
        self.splitter = FrameSplitter(apply_mask, part_size)
        self.accepted = trio.Event()
        self.gone = Interrupt()
        self.refused: FrameTooLarge | None = None
        self.close_sent = False
        self.received = 0
        self.last_byte = -math.inf
        self.idle = math.inf
        self.until = math.inf
        self.watch = trio.CancelScope()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:  # noqa: ARG002
        if self._head:
            head, self._head = self._head, b""
            await trio.lowlevel.checkpoint()
            return head
        await self.accepted.wait()
        while True:
            if self.refused:
                # Ends the library's reader, after it has passed on what came before.
                raise trio.BrokenResourceError
            data, self._unwalked = self._unwalked, b""
            if data:
                await trio.lowlevel.checkpoint()
            else:
                data = await self._read()
                self._note(len(data))
                if not data:
                    return b""
            passed = self._walk(data)
            while self.splitter.parts:
                await self._parts.send(self.splitter.parts.popleft())
            if passed:
                return passed

    def _note(self, length: int) -> None:
        """So many bytes came just now; none are the end."""
        self.received += length
        self.last_byte = trio.current_time()
        waits_on = self.last_byte < self.until
        self.watch.deadline = self.last_byte + (self.idle if waits_on else 0)
        if not length:
            self.gone.fire()

    def _walk(self, data: bytes) -> bytes:
        """What the library is to see of it; a few frames at a time, for it takes no rest itself."""
        try:
            passed, walked = self.splitter.feed(data, self.last_byte, FRAMES_AT_ONCE)
        except FrameTooLarge as refused:
            self.refused = refused
            return refused.clean
        self._unwalked = data[walked:]
        return passed

    async def _read(self) -> bytes:
        if self._surplus:
            data, self._surplus = self._surplus, b""
            return data
        try:
            length = min(READ_UNGRANTED + self.splitter.due, READ)
            return bytes(await self._stream.receive_some(length))
        except trio.BrokenResourceError:
            self.gone.fire()
            raise

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        async with self._send_lock:
            if self._torn:
                raise trio.BrokenResourceError("an earlier frame was cut off")
            if self.close_sent:
                return  # RFC 6455, 5.5.1: nothing follows a Close frame; the library may try
            self.close_sent = data[0] == _CLOSE_FRAME
            self._torn = True
            await self._stream.send_all(data)
            self._torn = False

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """The library is done. The socket belongs to the server, which closes it in order."""
        await trio.lowlevel.checkpoint()


class WebSocketTransport:
    """One upgraded connection, from the server's side.

    After FrameTooLarge or FrameError nothing more can be received, but `send` and `finish` work.
    """

    def __init__(
        self,
        websocket: WebSocketConnection,
        stream: _GuardedStream,
        messages: trio.MemoryReceiveChannel[Message | None],
    ) -> None:
        self._websocket = websocket
        self._stream = stream
        self._messages = messages
        self._ended = False
        self._peer_closed = False
        self._encoder = Connection(ConnectionType.SERVER)

    def allow(self, length: int) -> None:
        """One more BINARY message, of at most `length` bytes, may come."""
        self._stream.splitter.allow(length)

    def settle(self, promised: int) -> None:
        """No more than `promised` bytes of data may come, with what came and was not received."""
        self._stream.splitter.settle(promised)

    @property
    def gone(self) -> Interrupt:
        """Breaks into a wait for something else, should the peer go away meanwhile."""
        return self._stream.gone

    @property
    def heard_out(self) -> bool:
        """Whether nothing more comes from the peer: it closed, or is gone."""
        return self._peer_closed or self.gone.fired

    @property
    def received(self) -> int:
        """Bytes that came since the upgrade, whatever they were."""
        return self._stream.received

    async def receive(self, idle: float, at_most: float = math.inf) -> Message:
        """The next message, or part of one.

        Raises PeerSilent when no byte at all came for `idle` seconds, StillComing when bytes come
        after `at_most` seconds and no message is whole, TransportClosed when the connection is
        gone, FrameTooLarge and FrameError when the peer broke a rule.
        """
        stream, now = self._stream, trio.current_time()
        stream.idle, stream.until = idle, now + at_most
        with trio.CancelScope(deadline=now + idle) as stream.watch:
            message = None if self._ended else await self._messages.receive()
            if message is None:
                ending = self._ending()
                if not self._ended:
                    self._peer_closed = isinstance(ending, TransportClosed)
                self._ended = True
                raise ending
            if isinstance(message, BinaryMessage):
                stream.splitter.taken(message.length)
            return message
        if trio.current_time() - max(now, stream.last_byte) < idle:
            raise StillComing
        raise PeerSilent

    async def send(self, *texts: str, timeout: float) -> None:
        """Send TEXT messages. Raises TransportClosed if that fails or takes over `timeout` s."""
        if self._stream.close_sent:
            raise TransportClosed("the connection is closing")
        frames = b"".join(self._encoder.send(TextMessage(text)) for text in texts)
        await self._send(frames, timeout)

    async def finish(self, code: int, reason: str, wait: float) -> str:
        """End the connection, and say how it ended.

        A sound peer gets `wait` seconds to close by itself, as the protocol has it; then, and at
        once where nothing more can be received, we send the Close frame (RFC 6455 codes).
        """
        with trio.move_on_after(wait):
            ending = await self._drop_messages()
            if self._stream.close_sent or self._stream.gone.fired:
                return ending
        try:
            await self._send(
                bytes(self._encoder.send(CloseConnection(code, reason))), CLOSE_SENDING
            )
        except TransportClosed as gone:
            return str(gone)
        with trio.move_on_after(CLOSE_SENDING):
            await self._drop_messages()
        return f"closed by us: {reason}"

    async def _drop_messages(self) -> str:
        while True:
            try:
                await self.receive(math.inf)
            except (TransportClosed, FrameTooLarge, FrameError) as ending:
                return str(ending)

    async def _send(self, frame: bytes, timeout: float) -> None:
        try:
            with trio.fail_after(timeout):
                await self._stream.send_all(frame)
        except trio.TooSlowError:
            raise TransportClosed("the peer does not read what we send") from None
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise TransportClosed("the connection was lost") from None

    def _ending(self) -> TransportClosed | FrameTooLarge | FrameError:
        stream, closed = self._stream, self._websocket.closed
        if stream.refused:
            return stream.refused
        if stream.gone.fired or closed is None:
            return TransportClosed("the connection was lost")
        if stream.close_sent:
            return TransportClosed(f"closed by the peer (code {closed.code})", closed.code)
        return FrameError(closed.reason or closed.name, closed.code)


@asynccontextmanager
async def open_transport(
    stream: trio.abc.Stream, key: bytes, surplus: bytes, timeout: float, part_size: int = PART
) -> AsyncIterator[WebSocketTransport]:
    """Answer an upgrade request with the Sec-WebSocket-Key `key`, and speak WebSocket on `stream`.

    `surplus` is what was read past the request head. The stream stays open at the end. Raises
    TransportClosed if the peer is gone before the answer is, or does not take it in `timeout` s.
    """
    # One part waits while another is being stored, and the next is being gathered.
    into, messages = trio.open_memory_channel[Message | None](1)
    guarded = _GuardedStream(stream, key, surplus, into, part_size)
    async with trio.open_nursery() as nursery:
        request = await wrap_server_stream(
            nursery,
            guarded,
            message_queue_size=0,
            # The splitter is the limit. The library's own ends in a reader that may block for ever.
            max_message_size=2**63,
            receive_buffer_size=READ,
        )
        try:
            with trio.fail_after(timeout):
                websocket = await request.accept()
        except ConnectionClosed:
            raise TransportClosed("the connection was lost") from None
        except trio.TooSlowError:
            raise TransportClosed("the peer does not read what we send") from None
        guarded.accepted.set()
        nursery.start_soon(_pass_on, websocket, guarded.splitter, into)
        yield WebSocketTransport(websocket, guarded, messages)
        nursery.cancel_scope.cancel()


async def _pass_on(
    websocket: WebSocketConnection,
    splitter: FrameSplitter,
    into: trio.MemorySendChannel[Message | None],
) -> None:
    """Put what the library has seen in line behind the parts that went around it; None at the end.

    It saw the frames of a BINARY message with nothing in them.
    """
    try:
        while True:
            message = await websocket.get_message()
            await into.send(message if isinstance(message, str) else splitter.messages.popleft())
    except ConnectionClosed:
        await into.send(None)
