"""trio-websocket, for the frames that `FrameSplitter` does not take itself.

It assembles messages of several frames, and judges frames that violate RFC 6455. Most connections
have neither, and do not start it. It never sends anything here: the splitter takes the handshake's
place, every valid Ping and every valid Close frame. This depends on one detail of the library: it
reads again once it has processed what it has read, also after a violation.
"""

from typing import Final

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_server_stream

from .endings import FrameError

REQUEST: Final = (
    b"GET / HTTP/1.1\r\nHost: galileod\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
"""The upgrade request that the library reads, since it requires one. No header of a peer reaches
it. Its response is discarded: `open_transport` has sent one."""

UNLIMITED: Final = 2**63
"""The library's limit on the length of a message. `FrameSplitter` enforces ours; the library's own
can block its reader for ever."""


class Library:
    """The library on one connection. It is started by the first call of `judge`.

    Its tasks run in `nursery`. At most `max_messages` messages may end in the frames of one call.
    """

    def __init__(self, nursery: trio.Nursery, max_messages: int) -> None:
        self._nursery = nursery
        self._max_messages = max_messages
        self._stream = _FedStream()
        self._websocket: WebSocketConnection | None = None

    async def judge(self, frames: bytes, ends: int) -> list[str | bytes]:
        """Process frames, in which `ends` messages end unless a frame before them is invalid.

        Returns the complete messages, in order. BINARY ones have the payload that the frames have.
        """
        websocket = self._websocket or await self._start()
        await self._stream.feed(frames)
        messages = list[str | bytes]()
        try:
            for _ in range(ends):
                messages.append(await websocket.get_message())
        except ConnectionClosed:
            pass  # `violation` says why
        return messages

    @property
    def violation(self) -> FrameError | None:
        """What was wrong with a frame; the library ignores all frames after it."""
        closed = self._websocket.closed if self._websocket else None
        return FrameError(closed.reason or closed.name, closed.code) if closed else None

    async def _start(self) -> WebSocketConnection:
        request = await wrap_server_stream(
            self._nursery,
            self._stream,
            # Its reader must not wait until messages are taken: `judge` waits for it first.
            message_queue_size=self._max_messages,
            max_message_size=UNLIMITED,
            receive_buffer_size=None,
        )
        self._websocket = await request.accept()
        return self._websocket


class _FedStream(trio.abc.Stream):
    """The stream that the library uses as the connection."""

    def __init__(self) -> None:
        self._unread = REQUEST
        self._fed = trio.Event()
        self._processed = trio.Event()

    async def feed(self, data: bytes) -> None:
        """Let the library read `data`, and wait until it has processed them."""
        self._unread, self._processed = data, trio.Event()
        self._fed.set()
        await self._processed.wait()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:  # noqa: ARG002  of Stream
        if not self._unread:
            self._fed = trio.Event()
            self._processed.set()
            await self._fed.wait()
        data, self._unread = self._unread, b""
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Discard what the library sends: its response to REQUEST."""

    async def wait_send_all_might_not_block(self) -> None:
        """Required of a stream; the library does not call it."""

    async def aclose(self) -> None:
        """Do nothing: the server still sends its Close frame, and then closes the socket itself."""
