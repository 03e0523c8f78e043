"""Time limits on receiving: silence, and a message that takes too long."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import trio


class PeerSilent(Exception):  # noqa: N818  a verdict about the peer, not an error of ours
    """Not one byte came within the idle time."""


class MessageIncomplete(Exception):  # noqa: N818  an ordinary result, after which waiting goes on
    """Bytes came, but no complete message within the given time."""


class ReceiveWatch:
    """Limits the wait for a message, while another task reads the bytes and reports them here.

    `received` is the number of bytes so far, `last_byte` the time at which the last ones came.
    """

    def __init__(self) -> None:
        self.received = 0
        self.last_byte = -math.inf
        self._idle = math.inf
        self._until = math.inf
        self._scope = trio.CancelScope()

    def note(self, length: int) -> None:
        """`length` bytes came just now."""
        self.received += length
        self.last_byte = trio.current_time()
        waits_on = self.last_byte < self._until
        self._scope.deadline = self.last_byte + (self._idle if waits_on else 0)

    @contextmanager
    def limit(self, idle: float, at_most: float) -> Iterator[None]:
        """Limit the block to `idle` seconds after the last byte, and to `at_most` seconds.

        Raises PeerSilent at the former limit. The latter is checked only when bytes come, and
        raises MessageIncomplete: without any, the idle time decides.
        """
        began = trio.current_time()
        self._idle, self._until = idle, began + at_most
        with trio.CancelScope(deadline=began + idle) as self._scope:
            yield
        if self._scope.cancelled_caught:
            if trio.current_time() - max(began, self.last_byte) < idle:
                raise MessageIncomplete
            raise PeerSilent
