"""A stream over a socket. trio's own takes an iteration of the event loop for each operation."""

import os
import socket
from errno import EBADF

import trio

from .streams import DISCARD, DirectStream


class DirectSocket(DirectStream):
    """A connected TCP or unix socket."""

    def __init__(self, connected: socket.socket) -> None:
        connected.setblocking(False)
        if connected.family != socket.AF_UNIX:
            # Otherwise a signal could wait until the peer has acknowledged the one before.
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = connected
        self._descriptor = connected.fileno()
        self._unsent = memoryview(b"")
        # The request usually is there when the connection is accepted.
        self._may_have_data = True

    def send_nowait(self, data: bytes | bytearray | memoryview) -> bool:
        """See DirectStream."""
        try:
            sent = os.write(self._descriptor, data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise _stream_error(error) from error
        if sent == len(data):
            return True
        self._unsent = memoryview(data)[sent:]
        return False

    async def flush(self) -> None:
        """See DirectStream."""
        while True:
            await self.wait_send_all_might_not_block()
            if self.send_nowait(self._unsent):
                return

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """See trio.abc.SendStream."""
        await trio.lowlevel.checkpoint()
        if not self.send_nowait(data):
            await self.flush()

    async def wait_send_all_might_not_block(self) -> None:
        """See trio.abc.SendStream."""
        try:
            await trio.lowlevel.wait_writable(self._descriptor)
        except OSError as error:
            raise _stream_error(error) from error

    async def wait_received(self) -> None:
        """See DirectStream."""
        if self._may_have_data:
            await trio.lowlevel.checkpoint()
        else:
            await self._wait_readable()

    def receive_nowait(self, max_bytes: int) -> bytes | None:
        """See DirectStream."""
        try:
            data = os.read(self._descriptor, max_bytes)
        except BlockingIOError:
            self._may_have_data = False
            return None
        except OSError as error:
            raise _stream_error(error) from error
        self._may_have_data = len(data) == max_bytes
        return data

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """See trio.abc.ReceiveStream."""
        while True:
            await self.wait_received()
            if (data := self.receive_nowait(max_bytes or DISCARD)) is not None:
                return data

    async def send_eof(self) -> None:
        """See trio.abc.HalfCloseableStream."""
        await trio.lowlevel.checkpoint()
        self.end_nowait()

    def end_nowait(self) -> None:
        """See DirectStream."""
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            raise _stream_error(error) from error

    async def aclose(self) -> None:
        """See trio.abc.AsyncResource."""
        self.close()
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        """See DirectStream."""
        if self._descriptor >= 0:
            trio.lowlevel.notify_closing(self._descriptor)
            self._descriptor = -1  # the kernel may give the number to the next connection
            self.socket.close()

    async def _wait_readable(self) -> None:
        try:
            await trio.lowlevel.wait_readable(self._descriptor)
        except OSError as error:
            raise _stream_error(error) from error


def _stream_error(error: OSError) -> trio.BrokenResourceError | trio.ClosedResourceError:
    if error.errno == EBADF:
        return trio.ClosedResourceError("the socket was closed")
    return trio.BrokenResourceError(f"the connection is lost: {error}")
