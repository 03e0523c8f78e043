"""Pings while the peer waits for this side, so that no proxy closes the connection."""

import math
from collections.abc import Callable
from typing import Final

import trio

SEND_SECONDS: Final = 1.0
"""Maximum seconds to wait until a Ping can be sent. A peer that does not read gets no more."""


class Keepalive:
    """Says when a Ping is due: each `interval` seconds, except while the peer is to send something.

    That is so while `peers_turn` is set, and while `data_due` returns true: a peer in the middle of
    a frame could not answer. Proxies close connections on which nothing is sent for a while.
    While this side owes answers, the peer waits for them, whatever it may send.
    """

    def __init__(self, interval: float, data_due: Callable[[], bool]) -> None:
        self._interval = interval
        self._data_due = data_due
        self._peers_turn = False
        self._owed = 0
        self._since = trio.current_time()
        self._last_ping = -math.inf

    def begin_peers_turn(self) -> None:
        """From now on the peer is to send something."""
        self._peers_turn = True

    def end_peers_turn(self) -> None:
        """From now on the peer has to wait."""
        self._peers_turn = False
        if not self._owed:  # else it has waited all the time
            self._since = trio.current_time()

    def owe(self, more: int) -> None:
        """From now on, `more` answers are owed; negative: some were given."""
        owed = self._owed + more
        if bool(owed) is not bool(self._owed):
            self._since = trio.current_time()
        self._owed = owed

    def deadline(self) -> float:
        """When the next Ping is due if nothing changes until then, in seconds of trio's clock.

        If the peer has to wait later, it is due later. So the caller asks again at that time; most
        connections end before it.
        """
        waits = bool(self._owed) or not (self._peers_turn or self._data_due())
        last = max(self._since, self._last_ping) if waits else trio.current_time()
        return last + self._interval

    def sent(self) -> None:
        """A Ping was sent."""
        self._last_ping = trio.current_time()

    def stop(self) -> None:
        """No Ping is due any more."""
        self._last_ping = math.inf
