"""The stream that trio-websocket reads from: it enforces the limits on frames and reads."""

from typing import Final

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection

from galileod.shutdown import Interrupt

from .frames import FrameSplitter, FrameTooLarge
from .queue import MessageQueue
from .sending import FrameSender
from .watch import ReceiveWatch

READ_UNGRANTED: Final = 16 * 1024
"""A read takes at most this many bytes more than the file data that the peer may send. A peer
without credit can make the server buffer these bytes, one TEXT message that the library is
assembling (at most `TEXT_LIMIT` bytes), and one TEXT message in `MessageQueue`."""

READ: Final = 1024 * 1024
"""Maximum bytes of a read. An iteration of the event loop takes about 200 microseconds, so that the
library's default of 4 KiB would reduce throughput by three quarters."""

FRAMES_AT_ONCE: Final = 64
"""Maximum frames that are passed to the library before other tasks run. It processes them without a
checkpoint, and takes about 40 microseconds for each."""


def request_head(key: bytes) -> bytes:
    """The upgrade request that the library reads instead of the peer's.

    The library requires an HTTP request at the start of a connection. `http11` has read the peer's
    request already, and `server.upgrade` has checked it. Only its Sec-WebSocket-Key, which
    determines the response, is passed to the library.
    """
    return (
        b"GET / HTTP/1.1\r\nHost: galileod\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + key + b"\r\n\r\n"
    )


class GuardedStream(trio.abc.Stream):
    """The stream that trio-websocket uses as the connection.

    The docstring of `net.websocket` lists what the library does, and what is done here.

    The library reads the request head, and nothing more until `deliver` runs, since it discards
    bytes that arrive before its response. After that it reads the bytes that `splitter` returns.
    Messages and parts are added to `messages` in the order of arrival, and None at the end. `ended`
    fires then; `disconnected` says whether the connection was lost. After `halt` fires, nothing
    more is read; what was read before is still added.
    """

    def __init__(
        self,
        stream: trio.abc.Stream,
        key: bytes,
        surplus: bytes,
        splitter: FrameSplitter,
        messages: MessageQueue,
    ) -> None:
        self.splitter = splitter
        self.sender = FrameSender(stream)
        self.watch = ReceiveWatch()
        self.ended = Interrupt()
        self.halt = Interrupt()
        self.disconnected = False
        self.refused: FrameTooLarge | None = None
        self._stream = stream
        self._messages = messages
        self._head = request_head(key)
        self._surplus = surplus
        self._unsplit = b""
        self._library: WebSocketConnection | None = None
        self._accepted = trio.Event()

    async def deliver(self, library: WebSocketConnection) -> None:
        """Start the reads of the library, which has sent its response, and forward its messages.

        A BINARY message from the library is empty: the splitter has its payload.
        """
        self._library = library
        self._accepted.set()
        try:
            while True:
                message = await library.get_message()
                await self._messages.put(
                    message if isinstance(message, str) else self.splitter.messages.popleft()
                )
        except ConnectionClosed:
            pass  # `messages` says that it ended, and the transport says why
        finally:
            self.ended.fire()
            self._messages.end()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:  # noqa: ARG002
        """Read bytes for the library; parts of messages are added to `messages` directly."""
        if self._head:
            head, self._head = self._head, b""
            await trio.lowlevel.checkpoint()
            return head
        await self._accepted.wait()
        while True:
            if self.refused:
                # Ends the library's reader task, after it has delivered the messages before this.
                raise trio.BrokenResourceError
            data, self._unsplit = self._unsplit, b""
            if data:
                await trio.lowlevel.checkpoint()
            else:
                data = await self._read()
                self.watch.note(len(data))
                if not data:
                    self.disconnected = True
                    return b""
            passed = self._split(data)
            while self.splitter.parts:
                await self._messages.put(self.splitter.parts.popleft())
            if passed:
                return passed

    def _split(self, data: bytes) -> bytes:
        """Parse at most FRAMES_AT_ONCE frames of `data`; returns the bytes for the library."""
        try:
            passed, parsed = self.splitter.feed(data, self.watch.last_byte, FRAMES_AT_ONCE)
        except FrameTooLarge as refused:
            self.refused = refused
            return refused.passed
        self._unsplit = data[parsed:]
        return passed

    async def _read(self) -> bytes:
        if self._surplus:
            data, self._surplus = self._surplus, b""
            return data
        try:
            length = min(READ_UNGRANTED + self.splitter.due, READ)
            with self.halt.guard():
                return bytes(await self._stream.receive_some(length))
        except trio.BrokenResourceError:
            self.disconnected = True
            raise
        raise trio.BrokenResourceError("halted")  # ends the library's reader task

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes of the library: the response to the upgrade, Pong frames, and one Close frame.

        The Close frame is the response to the peer's. Before the library sends it, it sets its
        attribute `closed`.
        """
        closing = self._library is not None and self._library.closed is not None
        try:
            await self.sender.send(data, close=closing)
        except trio.BrokenResourceError:
            if self._library is None:
                raise
            # The library would discard what arrived before. The task that reads notices the lost
            # connection as well.

    async def wait_send_all_might_not_block(self) -> None:
        """Required of a stream; the library does not call it."""
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """Do nothing: the server still sends its Close frame, and then closes the socket itself."""
        await trio.lowlevel.checkpoint()
