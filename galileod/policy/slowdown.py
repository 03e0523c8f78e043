"""Who shows a wrong credential waits for the answer, longer each time."""

from collections import OrderedDict
from typing import Final

FIRST: Final = 0.25
"""Seconds that the first wrong credential waits; each that follows waits twice as long."""

MOST: Final = 5.0
"""Seconds between two answers at the most."""

FORGET: Final = 60.0
"""Seconds after which failures are forgotten."""

LONGEST: Final = 15.0
"""Seconds that an answer waits at the most, however many stand in the line before it."""

MAX_CLIENTS: Final = 4096
"""Clients whose failures are remembered; the oldest is forgotten first."""


class Slowdown:
    """Spaces out the answers to clients that fail. Times are seconds of any steady clock.

    Failures of one client that come at once stand in a line: each waits behind the one before. A
    connection is held meanwhile, also for a client that went away, and those are capped.
    """

    def __init__(self) -> None:
        self._clients: OrderedDict[str, tuple[int, float, float]] = OrderedDict()

    def failed(self, client: str, now: float) -> float:
        """A credential of `client` was wrong: seconds that he must wait to be told so."""
        failures, free, last = self._clients.get(client, (0, now, now))
        failures = failures + 1 if now < last + FORGET else 1
        gap = min(MOST, FIRST * 2.0 ** min(failures - 1, 16))
        free = min(max(now, free) + gap, now + LONGEST)
        self._clients[client] = (failures, free, now)
        self._clients.move_to_end(client)
        if len(self._clients) > MAX_CLIENTS:
            self._clients.popitem(last=False)
        return free - now
