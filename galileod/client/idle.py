"""A timeout for connections on which nothing moves, and the stream that feeds it."""

from collections.abc import Iterator
from contextlib import contextmanager

import trio


class IdleTimeout:
    """Cancels `scope` after `limit` seconds without activity, not counting paused time.

    Activity is a byte in either direction, so that a slow connection does not time out.
    """

    def __init__(self, limit: float) -> None:
        self.scope = trio.CancelScope()
        self.limit = limit
        self._pauses = 0
        self.activity()

    def activity(self) -> None:
        """A byte was sent or received: the time starts again."""
        if not self._pauses:
            self.scope.deadline = trio.current_time() + self.limit

    def extend(self, seconds: float) -> None:
        """Raise the limit, and start the time again."""
        self.limit += seconds
        self.activity()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Do not count the time in here: the delay is not the peer's."""
        self._pauses += 1
        self.scope.deadline = float("inf")
        try:
            yield
        finally:
            self._pauses -= 1
            self.activity()


class WatchedStream(trio.abc.Stream):
    """A socket that reports each step of sending and receiving to `idle`. TLS goes on top of it.

    `trio.SocketStream.send_all` returns only when all is sent, which says nothing about a slow
    peer meanwhile.
    """

    def __init__(self, stream: trio.SocketStream, idle: IdleTimeout) -> None:
        self._stream = stream
        self._idle = idle

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """As `SocketStream.send_all`."""
        with memoryview(data) as view:
            sent = 0
            while sent < len(view):
                try:
                    sent += await self._stream.socket.send(view[sent:])
                except OSError as error:
                    raise trio.BrokenResourceError(error.strerror) from error
                self._idle.activity()

    async def wait_send_all_might_not_block(self) -> None:
        """As `SocketStream.wait_send_all_might_not_block`."""
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """As `SocketStream.receive_some`."""
        data = bytes(await self._stream.receive_some(max_bytes))
        self._idle.activity()
        return data

    async def aclose(self) -> None:
        """Close the socket."""
        await self._stream.aclose()
