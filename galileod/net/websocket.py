"""WebSocket messages over a byte stream, from the server's side.

- `frames` parses what the peer sends, and refuses a frame that exceeds a limit when its header has
  arrived. It takes the messages and the control frames that are plain.
- `library` is trio-websocket. It assembles messages of several frames, and judges frames that
  violate RFC 6455. Most connections have neither, and do not start it.
- `reader` is the task that reads: it answers a Ping with a Pong, and a Close frame with a Close
  frame, also while the storage is busy.
- `queue` holds the messages until they are taken: all data that was granted, and few TEXT messages.
- `keepalive` says when a Ping is due while the peer has to wait.
- `watch` counts bytes as they arrive, to distinguish a slow peer from a silent one.
- `sending` encodes frames, and sends them one after the other.
- `net.streams` half-closes and closes the socket.
"""

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import trio

from galileod.masking import apply_mask
from galileod.shutdown import Interrupt

from .budget import DataBudget
from .endings import FrameError, TransportClosed
from .frames import FrameSplitter, FrameTooLarge
from .keepalive import Keepalive
from .library import Library
from .messages import BinaryMessage, Message
from .queue import MessageQueue
from .reader import FRAMES_AT_ONCE, Reader
from .sending import TEXT, FrameSender, encode_close, encode_frame, encode_response
from .watch import let_others_read

__all__ = ["FrameError", "TransportClosed", "WebSocketTransport", "open_transport"]

CLOSE_SECONDS: Final = 1.0
"""Time limit in seconds for sending a Close frame, and again for receiving the peer's."""

REST_SECONDS: Final = 1.0
"""Time limit in seconds for `take_rest`. Only a Pong to a peer that does not read takes time."""


class WebSocketTransport:
    """One upgraded connection, from the server's side.

    After FrameTooLarge or FrameError nothing more can be received, but `send` and `finish` work.
    """

    def __init__(
        self,
        reader: Reader,
        splitter: FrameSplitter,
        messages: MessageQueue,
        sender: FrameSender,
        keepalive: Keepalive,
    ) -> None:
        self._reader = reader
        self._splitter = splitter
        self._messages = messages
        self._sender = sender
        self._keepalive = keepalive
        self._stopped = False

    @property
    def budget(self) -> DataBudget:
        """The limit on the bytes of BINARY messages; initially the peer may send none."""
        return self._splitter.budget

    @property
    def ended(self) -> Interrupt:
        """Fires when nothing more can be received, to end a wait for something else.

        The next calls of `receive` return what was received before, and then raise the reason.
        """
        return self._reader.ended

    @property
    def peer_ended(self) -> bool:
        """Whether the peer sends nothing more: it has closed, or the connection is lost."""
        return self._reader.peer_ended

    @property
    def received(self) -> int:
        """Bytes received since the upgrade, frame headers included."""
        return self._reader.watch.received

    def allow_texts(self, count: int) -> None:
        """Let `count` TEXT messages wait to be received, instead of one.

        Several have at most TEXT_CHARACTERS (`net.queue`) characters together.
        """
        self._messages.allow_texts(count)

    def owe(self, more: int) -> None:
        """The peer waits for `more` answers, also while messages of it are received, or for less.

        While it waits for any, Pings are sent to it.
        """
        self._keepalive.owe(more)

    async def receive(self, idle: float, at_most: float = math.inf) -> Message:
        """Receive the next message, or part of one. Both limits are in seconds.

        Raises PeerSilent if no byte arrives for `idle`, MessageIncomplete if bytes still arrive
        after `at_most`, TransportClosed if the connection has ended, FrameTooLarge if a frame
        exceeds a limit, and FrameError if the peer violates RFC 6455.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        while (message := self.receive_nowait()) is None:
            self._keepalive.begin_peers_turn()
            try:
                await self._reader.watch.wait(idle, at_most)
            finally:
                self._keepalive.end_peers_turn()
        return message

    def receive_nowait(self) -> Message | None:
        """Receive the next message, or part of one; None if none has arrived.

        Raises TransportClosed, FrameTooLarge and FrameError as `receive` does.
        """
        message = None if self._stopped else self._messages.take()
        if isinstance(message, BinaryMessage):
            self.budget.delivered(message.length)
        elif message is None and (self._stopped or self._messages.ended):
            raise self._reader.ending or TransportClosed("the connection was lost")
        return message

    async def take_rest(self) -> list[bytes]:
        """Stop receiving; returns the data that has arrived and was not received, in order.

        These are the bytes of BINARY messages up to the next TEXT message, those of a message that
        is not complete included. All of it was granted. Does not wait for the peer.
        """
        pieces: list[bytes] = []
        with trio.move_on_after(REST_SECONDS):
            await let_others_read()
            self._reader.halt()
            while not self._stopped:
                await self._reader.watch.wait(math.inf, math.inf)
                message = self._messages.take()
                if message is None:
                    self._stopped = True
                    if not isinstance(self._reader.ending, FrameError):
                        pieces += self._splitter.take_tail()
                elif isinstance(message, str):
                    self._stopped = True  # what follows a signal may belong to another file
                else:
                    pieces += message.pieces
        self._stopped = True
        return pieces

    async def send(self, *texts: str, timeout: float) -> None:
        """Send TEXT messages. Raises TransportClosed if that fails or exceeds `timeout` seconds."""
        if self._sender.closed:
            raise TransportClosed("the connection is closing")
        frames = b"".join([encode_frame(TEXT, text.encode()) for text in texts])
        await self._send(frames, timeout, close=False)

    async def finish(self, code: int, reason: str, wait: float) -> str:
        """End the connection; returns the reason of its end, for the log.

        GalileoSend expects the client to close. If it does not within `wait` seconds, or nothing
        more can be received, a Close frame with `code` and `reason` is sent.
        """
        with trio.move_on_after(wait):
            ending = await self._drop_messages()
            if self._sender.closed or self._reader.peer_ended:
                return ending
        try:
            await self._send(encode_close(code, reason), CLOSE_SECONDS, close=True)
        except TransportClosed as lost:
            return str(lost)
        with trio.move_on_after(CLOSE_SECONDS):
            await self._drop_messages()
        return f"closed by the server: {reason}"

    async def _drop_messages(self) -> str:
        while True:
            try:
                await self.receive(math.inf)
            except (TransportClosed, FrameTooLarge, FrameError) as ending:
                return str(ending)

    async def _send(self, frames: bytes, timeout: float, *, close: bool) -> None:
        try:
            await self._sender.send(frames, timeout=timeout, close=close)
        except trio.TooSlowError:
            raise TransportClosed("the peer does not read what we send") from None
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise TransportClosed("the connection was lost") from None


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
    messages, sender = MessageQueue(), FrameSender(stream)
    splitter = FrameSplitter(apply_mask, DataBudget(), part_size)
    keepalive = Keepalive(ping, lambda: splitter.due > 0)
    reader = Reader(stream, splitter, messages, sender, keepalive)
    transport = WebSocketTransport(reader, splitter, messages, sender, keepalive)
    try:
        await sender.send(encode_response(key), timeout=timeout)
    except trio.BrokenResourceError:
        raise TransportClosed("the connection was lost") from None
    except trio.TooSlowError:
        raise TransportClosed("the peer does not read what we send") from None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader.run, surplus, Library(nursery, FRAMES_AT_ONCE))
        yield transport
        nursery.cancel_scope.cancel()
