"""Pings while the peer waits for this side, so that no proxy closes the connection."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import trio

from .sending import FrameSender

SEND_SECONDS: Final = 1.0
"""Maximum seconds to wait until a Ping can be sent. A peer that does not read gets no more."""


class Keepalive:
    """Sends a Ping each `interval` seconds, except while the peer is to send something.

    That is so within `peers_turn`, and while `data_due` returns true: a peer in the middle of a
    frame could not answer. Proxies close connections on which nothing is sent for a while.
    """

    def __init__(self, sender: FrameSender, interval: float, data_due: Callable[[], bool]) -> None:
        self._sender = sender
        self._interval = interval
        self._data_due = data_due
        self._peers_turn = False
        self._since = trio.current_time()

    @contextmanager
    def peers_turn(self) -> Iterator[None]:
        """Send no Ping within this block."""
        # `run` is not woken: most connections end before the first Ping would be due.
        self._peers_turn = True
        try:
            yield
        finally:
            self._peers_turn, self._since = False, trio.current_time()

    async def run(self) -> None:
        """Send the Pings, until the connection is closing or lost, or the peer does not read."""
        last_ping = -math.inf
        while True:
            now = trio.current_time()
            last = now if self._peers_turn or self._data_due() else max(self._since, last_ping)
            if now >= last + self._interval:
                if not await self._sender.ping(SEND_SECONDS):
                    return
                last = last_ping = now
            await trio.sleep_until(last + self._interval)
