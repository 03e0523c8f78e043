"""Byte streams: sending without a task switch, and closing such that the last data arrives."""

from abc import abstractmethod
from typing import Final

import trio

DISCARD: Final = 64 * 1024
"""Maximum bytes that are read and discarded at a time."""

QUIET: Final = 0.5
"""Seconds without a byte after which the peer is assumed to have finished sending."""


class DirectStream(trio.abc.HalfCloseableStream):
    """A stream with methods that do not wait. They raise what the methods that wait raise."""

    @abstractmethod
    def send_nowait(self, data: bytes | bytearray | memoryview) -> bool:
        """Send `data` as far as that is possible without waiting; returns whether all was sent.

        If not, `flush` must be called before anything else is sent.
        """

    @abstractmethod
    async def flush(self) -> None:
        """Send the rest of the last `send_nowait`."""

    @abstractmethod
    async def wait_received(self) -> None:
        """Wait until `receive_nowait` may have something to return. It may return None even so."""

    @abstractmethod
    def receive_nowait(self, max_bytes: int) -> bytes | None:
        """Receive what is there; empty at the end of the stream, None if nothing is there."""

    @abstractmethod
    def end_nowait(self) -> None:
        """Do what `send_eof` does, as far as that is possible without waiting."""

    @abstractmethod
    def close(self) -> None:
        """Close the stream at once."""


async def drop_until_quiet(stream: trio.abc.ReceiveStream, seconds: float) -> None:
    """Discard what the peer still sends, until it pauses or closes, for at most `seconds`.

    A proxy closes both of its connections when one ends, and loses data that the client has not
    received yet. Many clients do not receive before they have sent a whole message.
    """
    try:
        with trio.move_on_after(seconds), trio.move_on_after(QUIET) as pause:
            while await stream.receive_some(DISCARD):
                pause.deadline = trio.current_time() + QUIET
    except trio.BrokenResourceError:
        pass  # the connection is lost: nothing more can arrive


async def close_in_order(stream: trio.abc.HalfCloseableStream, seconds: float) -> None:
    """Half-close the stream, discard what the peer sends until it closes too, then close it.

    Closing a socket with unread data resets the connection, and the peer's kernel may discard the
    last response because of it. Takes at most `seconds`.
    """
    try:
        if isinstance(stream, DirectStream):
            stream.end_nowait()
            if stream.receive_nowait(DISCARD) == b"":
                return  # most peers have closed already
        with trio.move_on_after(seconds):
            await stream.send_eof()
            while await stream.receive_some(DISCARD):
                pass
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass  # the peer has closed already, or the connection is lost
    finally:
        if isinstance(stream, DirectStream):
            stream.close()
        else:
            await trio.aclose_forcefully(stream)
