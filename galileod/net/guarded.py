"""The stream that trio-websocket reads from, which keeps it within our limits."""

from typing import Final

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection

from galileod.shutdown import Interrupt

from .frames import BinaryMessage, FrameSplitter, FrameTooLarge, MessagePart
from .sending import FrameSender
from .watch import ReceiveWatch

READ_UNGRANTED: Final = 16 * 1024
"""Maximum bytes of a read beyond what was granted. A peer without credit can make the server hold
these, the message that the library is assembling (`TEXT_LIMIT` at most), and one such message in
the queue."""

READ: Final = 1024 * 1024
"""Maximum bytes of a read. A turn of the event loop costs some 200 microseconds, so that the
library's default of 4 KiB would cost three quarters of the throughput."""

FRAMES_AT_ONCE: Final = 64
"""Frames handed to the library before other tasks run: it processes them without a checkpoint, at
some forty microseconds each."""

Message = str | BinaryMessage | MessagePart
"""What is received: a TEXT message, the end of a BINARY message, or an earlier part of one."""


def request_head(key: bytes) -> bytes:
    """The upgrade request that the library is given in place of the peer's.

    The library can begin a connection only with an HTTP request. The peer's was read and checked
    by `http11`, and is not repeated: of its header fields only the Sec-WebSocket-Key, which the
    response depends on, reaches the library.
    """
    return (
        b"GET / HTTP/1.1\r\nHost: galileod\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + key + b"\r\n\r\n"
    )


class GuardedStream(trio.abc.Stream):
    """What trio-websocket takes for the connection; `net.websocket` says what it is trusted with.

    The library reads the request head, and nothing more until `deliver` runs: it would drop bytes
    that come before its response. From then on it reads what `splitter` lets pass. What is
    received goes to `messages` in order; None is the end.
    """

    def __init__(
        self,
        stream: trio.abc.Stream,
        key: bytes,
        surplus: bytes,
        splitter: FrameSplitter,
        messages: trio.MemorySendChannel[Message | None],
    ) -> None:
        self.splitter = splitter
        self.sender = FrameSender(stream)
        self.watch = ReceiveWatch()
        self.disconnected = Interrupt()
        self.refused: FrameTooLarge | None = None
        self._stream = stream
        self._messages = messages
        self._head = request_head(key)
        self._surplus = surplus
        self._unsplit = b""
        self._library: WebSocketConnection | None = None
        self._accepted = trio.Event()

    async def deliver(self, library: WebSocketConnection) -> None:
        """Let the library, which has answered the upgrade, read, and pass on its messages.

        For the library a BINARY message is empty: the splitter has its payload.
        """
        self._library = library
        self._accepted.set()
        try:
            while True:
                message = await library.get_message()
                await self._messages.send(
                    message if isinstance(message, str) else self.splitter.messages.popleft()
                )
        except ConnectionClosed:
            await self._messages.send(None)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:  # noqa: ARG002
        """Bytes for the library, which asks for READ of them; parts of messages go around it."""
        if self._head:
            head, self._head = self._head, b""
            await trio.lowlevel.checkpoint()
            return head
        await self._accepted.wait()
        while True:
            if self.refused:
                # Ends the library's reader, after it has delivered what came before.
                raise trio.BrokenResourceError
            data, self._unsplit = self._unsplit, b""
            if data:
                await trio.lowlevel.checkpoint()
            else:
                data = await self._read()
                self.watch.note(len(data))
                if not data:
                    self.disconnected.fire()
                    return b""
            passed = self._split(data)
            while self.splitter.parts:
                await self._messages.send(self.splitter.parts.popleft())
            if passed:
                return passed

    def _split(self, data: bytes) -> bytes:
        """The bytes of `data` that the library gets, FRAMES_AT_ONCE at most."""
        try:
            passed, walked = self.splitter.feed(data, self.watch.last_byte, FRAMES_AT_ONCE)
        except FrameTooLarge as refused:
            self.refused = refused
            return refused.clean
        self._unsplit = data[walked:]
        return passed

    async def _read(self) -> bytes:
        if self._surplus:
            data, self._surplus = self._surplus, b""
            return data
        try:
            length = min(READ_UNGRANTED + self.splitter.due, READ)
            return bytes(await self._stream.receive_some(length))
        except trio.BrokenResourceError:
            self.disconnected.fire()
            raise

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send what the library sends: the response to the upgrade, pongs, and one Close frame.

        That frame answers the peer's. The library's `closed` has a value before it is sent.
        """
        closing = self._library is not None and self._library.closed is not None
        await self.sender.send(data, close=closing)

    async def wait_send_all_might_not_block(self) -> None:
        """Required of a stream; the library does not call it."""
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """Keep the socket open: the server still sends the reason, and closes in order."""
        await trio.lowlevel.checkpoint()
