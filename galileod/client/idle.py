"""The idle timeout of a connection, and a stream that reports activity to it."""

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
        """A byte was sent or received: restart the timeout."""
        if not self._pauses:
            self.scope.deadline = trio.current_time() + self.limit

    def extend(self, seconds: float) -> None:
        """Raise the limit, or lower it by a negative number, and restart the timeout."""
        self.limit += seconds
        self.activity()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Exclude the time of the block: the peer does not cause that delay."""
        self.pause()
        try:
            yield
        finally:
            self.go_on()

    def pause(self) -> None:
        """Exclude the time up to `go_on`, which is to be called as often as this."""
        self._pauses += 1
        self.scope.deadline = float("inf")

    def go_on(self) -> None:
        """Restart the timeout, if this was the last pause."""
        self._pauses -= 1
        self.activity()


class WatchedStream(trio.abc.Stream):
    """A socket that reports each step of sending and receiving to `idle`. TLS goes on top of it.

    `trio.SocketStream.send_all` returns only when all is sent, and so cannot tell a slow peer from
    one that receives nothing.
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
