"""Time limits on receiving: the idle time, and the time for a complete message."""

import math
from typing import Final

import trio

from .queue import MessageQueue

READ_ITERATIONS: Final = 3
"""Iterations of the event loop in which data that is in the socket is read."""


class PeerSilent(Exception):  # noqa: N818  a fault of the peer, not an error of the daemon
    """No byte arrived within the idle time."""


class MessageIncomplete(Exception):  # noqa: N818  not an error: the caller may wait again
    """Bytes arrived, but no complete message within the given time."""


class ReceiveWatch:
    """Limits the wait for a message, while another task reads the bytes and calls `note`.

    `received` is the number of bytes so far, `last_byte` trio's time when the last ones arrived.
    """

    def __init__(self, messages: MessageQueue) -> None:
        self.received = 0
        self.last_byte = -math.inf
        self._messages = messages
        self._until = math.inf

    def note(self, length: int) -> None:
        """`length` bytes have arrived now."""
        self.received += length
        self.last_byte = trio.current_time()
        if self.last_byte >= self._until:
            self._messages.filled.wake()

    async def wait(self, idle: float, at_most: float) -> None:
        """Wait until the queue has an item, or its end; for `idle` seconds after the last byte.

        Raises PeerSilent after that, and MessageIncomplete after `at_most` seconds. The second
        limit is checked only when bytes arrive: a peer that sends nothing reaches the first one.
        """
        began = trio.current_time()
        self._until = began + at_most
        try:
            while not (self._messages or self._messages.ended):
                await self._wait_until(max(began, self.last_byte) + idle)
                if self.last_byte >= self._until:
                    self._check(MessageIncomplete())
                elif trio.current_time() >= max(began, self.last_byte) + idle:
                    # The deadline may have passed while this process was busy. What is in the
                    # socket counts: let the task that reads run before this one judges.
                    before = self.received
                    await let_others_read()
                    if self.received == before:
                        self._check(PeerSilent())
        finally:
            self._until = math.inf

    async def _wait_until(self, deadline: float) -> None:
        if deadline == math.inf:
            await self._messages.filled.wait()
        else:
            with trio.CancelScope(deadline=deadline):
                await self._messages.filled.wait()

    def _check(self, reached: PeerSilent | MessageIncomplete) -> None:
        """Raise `reached`, unless there is something to take by now."""
        if not (self._messages or self._messages.ended):
            raise reached


async def let_others_read() -> None:
    """Let the task that reads take what is in the socket."""
    for _ in range(READ_ITERATIONS):
        await trio.lowlevel.checkpoint()
