"""Time limits on receiving: the idle time, and the time for a complete message."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import trio


class PeerSilent(Exception):  # noqa: N818  a fault of the peer, not an error of the daemon
    """No byte arrived within the idle time."""


class MessageIncomplete(Exception):  # noqa: N818  not an error: the caller may wait again
    """Bytes arrived, but no complete message within the given time."""


class ReceiveWatch:
    """Limits the wait for a message, while another task reads the bytes and calls `note`.

    `received` is the number of bytes so far, `last_byte` trio's time when the last ones arrived.
    """

    def __init__(self) -> None:
        self.received = 0
        self.last_byte = -math.inf
        self._idle = math.inf
        self._until = math.inf
        self._scope = trio.CancelScope()

    def note(self, length: int) -> None:
        """`length` bytes have arrived now."""
        self.received += length
        self.last_byte = trio.current_time()
        may_wait = self.last_byte < self._until
        self._scope.deadline = self.last_byte + (self._idle if may_wait else 0)

    @contextmanager
    def limit(self, idle: float, at_most: float) -> Iterator[None]:
        """Limit the block to `idle` seconds after the last byte, and to `at_most` seconds in total.

        Raises PeerSilent at the first limit, and MessageIncomplete at the second. The second is
        checked only when bytes arrive: a peer that sends nothing reaches the first limit. If bytes
        arrive at the first limit itself, the block is cancelled, and nothing is raised.
        """
        began = trio.current_time()
        self._idle, self._until = idle, began + at_most
        with trio.CancelScope(deadline=began + idle) as self._scope:
            yield
        if self._scope.cancelled_caught:
            now = trio.current_time()
            if now - max(began, self.last_byte) >= idle:
                raise PeerSilent
            if now >= self._until:
                raise MessageIncomplete
