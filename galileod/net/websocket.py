"""WebSocket messages over a byte stream.

trio-websocket:

- sends the response to an upgrade request that `guarded` generates, so that no header of a peer
  reaches the library;
- checks every frame against RFC 6455, except for the limits on length;
- assembles the frames of TEXT messages, and keeps all messages in order;
- answers a Ping with a Pong, and a Close frame with a Close frame.

Limits, payloads, time limits and the socket are handled outside of it:

- `guarded` and `frames` reject a frame that exceeds a limit before the library reads it, and
  extract the payload of BINARY messages, which the library would copy four times;
- `queue` holds the data that was granted, so that it is read while the storage is busy;
- `keepalive` sends a Ping from time to time while the peer has to wait;
- `watch` counts bytes as they arrive, to distinguish a slow peer from a silent one;
- `sending` sends signals and our Close frame: the library sends nothing after a violation;
- `net.streams` half-closes and closes the socket: the library does not close it.

Only this module and `guarded` import trio-websocket. Both depend on one detail of it: it sets its
`closed` before it sends a Close frame.
"""

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_server_stream

from galileod.masking import apply_mask
from galileod.shutdown import Interrupt

from .budget import DataBudget
from .frames import BinaryMessage, FrameSplitter, FrameTooLarge
from .guarded import READ, GuardedStream
from .keepalive import Keepalive
from .queue import Message, MessageQueue
from .sending import TEXT, encode_close, encode_frame
from .watch import PeerSilent

LOST: Final = 1006
"""The close code of a connection that ended without a Close frame (RFC 6455, section 7.1.5)."""

CLOSE_SECONDS: Final = 1.0
"""Time limit in seconds for sending a Close frame, and again for receiving the peer's."""

REST_SECONDS: Final = 1.0
"""Time limit in seconds for `take_rest`. Only a Pong to a peer that does not read takes time."""

READ_ITERATIONS: Final = 3
"""Iterations of the event loop in which data that is in the socket is read."""


class TransportClosed(Exception):  # noqa: N818  the usual end of a connection, not an error
    """The connection has ended; `code` is the WebSocket close code (RFC 6455, section 7.4)."""

    def __init__(self, reason: str, code: int = LOST) -> None:
        super().__init__(reason)
        self.code = code


class FrameError(Exception):
    """The peer violated RFC 6455. `code` is the close code for the violation."""

    def __init__(self, reason: str, code: int) -> None:
        super().__init__(reason)
        self.code = code


class WebSocketTransport:
    """One upgraded connection, from the server's side.

    After FrameTooLarge or FrameError nothing more can be received, but `send` and `finish` work.
    """

    def __init__(
        self,
        websocket: WebSocketConnection,
        stream: GuardedStream,
        messages: MessageQueue,
        keepalive: Keepalive,
    ) -> None:
        self._websocket = websocket
        self._stream = stream
        self._messages = messages
        self._keepalive = keepalive
        self._ended = False
        self._drained = False
        self._peer_closed = False

    @property
    def budget(self) -> DataBudget:
        """The limit on the bytes of BINARY messages; initially the peer may send none."""
        return self._stream.splitter.budget

    @property
    def ended(self) -> Interrupt:
        """Fires when nothing more can be received, to end a wait for something else.

        The next calls of `receive` return what was received before, and then raise the reason.
        """
        return self._stream.ended

    @property
    def peer_ended(self) -> bool:
        """Whether the peer sends nothing more: it has closed, or the connection is lost."""
        return self._peer_closed or self._stream.disconnected

    @property
    def received(self) -> int:
        """Bytes received since the upgrade, frame headers included."""
        return self._stream.watch.received

    async def receive(self, idle: float, at_most: float = math.inf) -> Message:
        """Receive the next message, or part of one. Both limits are in seconds.

        Raises PeerSilent if no byte arrives for `idle`, MessageIncomplete if bytes still arrive
        after `at_most`, TransportClosed if the connection has ended, FrameTooLarge if a frame
        exceeds a limit, and FrameError if the peer violates RFC 6455.
        """
        with self._keepalive.peers_turn():
            message = None if self._ended else await self._take(idle, at_most)
        if message is None:
            if not self._ended:
                self._note_end()
            raise self._ending()
        if isinstance(message, BinaryMessage):
            self.budget.delivered(message.length)
        return message

    def receive_nowait(self) -> Message | None:
        """The next message, or part of one, that was received already; None if there is none."""
        message = None if self._ended else self._messages.take_nowait()
        if isinstance(message, BinaryMessage):
            self.budget.delivered(message.length)
        return message

    async def take_rest(self) -> list[bytes]:
        """Stop receiving; returns the data that has arrived and was not received, in order.

        These are the bytes of BINARY messages up to the next TEXT message, those of a message that
        is not complete included. All of it was granted. Does not wait for the peer.
        """
        pieces: list[bytes] = []
        with trio.move_on_after(REST_SECONDS):
            await _let_others_read()
            self._stream.halt.fire()
            while not self._ended:
                message = await self._messages.take()
                if message is None:
                    self._note_end()
                elif isinstance(message, str):
                    self._ended = True  # what follows a signal may belong to another file
                else:
                    pieces += message.pieces
        self._ended = True
        if self._drained and not self._is_violated():
            pieces += self._stream.splitter.take_tail()
        return pieces

    async def send(self, *texts: str, timeout: float) -> None:
        """Send TEXT messages. Raises TransportClosed if that fails or exceeds `timeout` seconds."""
        if self._stream.sender.closed:
            raise TransportClosed("the connection is closing")
        frames = b"".join(encode_frame(TEXT, text.encode()) for text in texts)
        await self._send(frames, timeout, close=False)

    async def finish(self, code: int, reason: str, wait: float) -> str:
        """End the connection; returns the reason of its end, for the log.

        GalileoSend expects the client to close. If it does not within `wait` seconds, or nothing
        more can be received, a Close frame with `code` and `reason` is sent.
        """
        with trio.move_on_after(wait):
            ending = await self._drop_messages()
            if self._stream.sender.closed or self._stream.disconnected:
                return ending
        try:
            await self._send(encode_close(code, reason), CLOSE_SECONDS, close=True)
        except TransportClosed as lost:
            return str(lost)
        with trio.move_on_after(CLOSE_SECONDS):
            await self._drop_messages()
        return f"closed by the server: {reason}"

    async def _take(self, idle: float, at_most: float) -> Message | None:
        while True:
            try:
                with self._stream.watch.limit(idle, at_most):
                    return await self._messages.take()
            except PeerSilent:
                # The deadline may have passed while this process was busy. What is in the socket
                # counts: let the task that reads run before this one judges.
                before = self.received
                await _let_others_read()
                if self.received == before:
                    raise
            # Bytes arrived at the limit: wait again.

    async def _drop_messages(self) -> str:
        while True:
            try:
                await self.receive(math.inf)
            except (TransportClosed, FrameTooLarge, FrameError) as ending:
                return str(ending)

    async def _send(self, frames: bytes, timeout: float, *, close: bool) -> None:
        try:
            with trio.fail_after(timeout):
                await self._stream.sender.send(frames, close=close)
        except trio.TooSlowError:
            raise TransportClosed("the peer does not read what we send") from None
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise TransportClosed("the connection was lost") from None

    def _note_end(self) -> None:
        """All that was received has been taken."""
        self._ended = self._drained = True
        self._peer_closed = self._stream.refused is None and self._stream.sender.closed

    def _is_violated(self) -> bool:
        """Whether the library has stopped before the end of what was read."""
        closed = self._websocket.closed
        return closed is None or (closed.code != LOST and not self._stream.sender.closed)

    def _ending(self) -> TransportClosed | FrameTooLarge | FrameError:
        stream, closed = self._stream, self._websocket.closed
        if stream.refused:
            return stream.refused
        if stream.disconnected or closed is None:
            return TransportClosed("the connection was lost")
        if stream.sender.closed:
            return TransportClosed(f"closed by the peer (code {closed.code})", closed.code)
        if closed.code == LOST:
            return TransportClosed("nothing more is received")
        return FrameError(closed.reason or closed.name, closed.code)


async def _let_others_read() -> None:
    for _ in range(READ_ITERATIONS):
        await trio.lowlevel.checkpoint()


@asynccontextmanager
async def open_transport(
    stream: trio.abc.Stream,
    key: bytes,
    surplus: bytes,
    *,
    timeout: float,
    ping: float,
    part_size: int,
) -> AsyncIterator[WebSocketTransport]:
    """Accept an upgrade request with the Sec-WebSocket-Key `key`, and use WebSocket on `stream`.

    `surplus` are the bytes that were read beyond the request head, `part_size` is the size of a
    MessagePart in bytes. While nothing is received and no data is due, a Ping is sent each `ping`
    seconds. The stream is not closed. Raises TransportClosed if the response cannot be sent within
    `timeout` seconds.
    """
    messages = MessageQueue()
    # File data is unmasked in C; wsproto, whose Python is ten times slower, only unmasks TEXT.
    splitter = FrameSplitter(apply_mask, DataBudget(), part_size)
    guarded = GuardedStream(stream, key, surplus, splitter, messages)
    async with trio.open_nursery() as nursery:
        request = await wrap_server_stream(
            nursery,
            guarded,
            message_queue_size=0,
            # The splitter enforces the limit. The library's own can block its reader for ever.
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
        nursery.start_soon(guarded.deliver, websocket)
        keepalive = Keepalive(guarded.sender, ping, lambda: splitter.due > 0)
        nursery.start_soon(keepalive.run)
        yield WebSocketTransport(websocket, guarded, messages, keepalive)
        nursery.cancel_scope.cancel()
