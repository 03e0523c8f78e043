"""A byte stream that is watched: who is waited for, and for how long already."""

from collections.abc import Iterator
from contextlib import contextmanager

import trio


class Silence:
    """Cancels `scope` once nothing has moved for `limit` seconds while the peer was waited for.

    Moving is a byte in either direction, so that a slow line is not taken for a dead one.
    """

    def __init__(self, limit: float) -> None:
        self.scope = trio.CancelScope()
        self.limit = limit
        self._ours = 0
        self.moved()

    def moved(self) -> None:
        """A byte came or went just now."""
        if not self._ours:
            self.scope.deadline = trio.current_time() + self.limit

    def extend(self, seconds: float) -> None:
        """From now on the peer may take so much longer."""
        self.limit += seconds
        self.moved()

    @contextmanager
    def ours(self) -> Iterator[None]:
        """Time that passes in here is our own doing."""
        self._ours += 1
        self.scope.deadline = float("inf")
        try:
            yield
        finally:
            self._ours -= 1
            self.moved()


class Line(trio.abc.Stream):
    """A socket that tells `silence` what moves, however little; TLS goes on top of it."""

    def __init__(self, stream: trio.SocketStream, silence: Silence) -> None:
        self._stream = stream
        self._silence = silence

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """As SocketStream does it, with a word after each step."""
        with memoryview(data) as view:
            sent = 0
            while sent < len(view):
                try:
                    sent += await self._stream.socket.send(view[sent:])
                except OSError as error:
                    raise trio.BrokenResourceError(error.strerror) from error
                self._silence.moved()

    async def wait_send_all_might_not_block(self) -> None:
        """As SocketStream does it."""
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """As SocketStream does it, with a word at its end."""
        data = bytes(await self._stream.receive_some(max_bytes))
        self._silence.moved()
        return data

    async def aclose(self) -> None:
        """Close the socket."""
        await self._stream.aclose()
