"""Delays of the responses to invalid credentials, which double with each failure of a client."""

from collections import OrderedDict
from typing import Final

FIRST: Final = 0.25
"""Delay of the first response in seconds; each further delay is twice as long."""

MOST: Final = 5.0
"""Maximum seconds between two responses to one client."""

FORGET: Final = 60.0
"""Seconds after which failures are forgotten."""

LONGEST: Final = 15.0
"""Maximum delay of a response in seconds, however many responses precede it."""

MAX_CLIENTS: Final = 4096
"""Maximum number of clients that are remembered; the oldest is forgotten first."""


class Slowdown:
    """Spaces out the responses to clients that fail. Times are seconds of any monotonic clock.

    Simultaneous failures of one client are answered one after another. Each keeps its connection
    for the time of the delay, even if the client leaves; the number of connections is limited.
    """

    def __init__(self) -> None:
        self._clients: OrderedDict[str, tuple[int, float, float]] = OrderedDict()

    def failed(self, client: str, now: float) -> float:
        """A credential of `client` is invalid; returns the delay of the response in seconds."""
        failures, free, last = self._clients.get(client, (0, now, now))
        failures = failures + 1 if now < last + FORGET else 1
        gap = min(MOST, FIRST * 2.0 ** min(failures - 1, 16))
        free = min(max(now, free) + gap, now + LONGEST)
        self._clients[client] = (failures, free, now)
        self._clients.move_to_end(client)
        if len(self._clients) > MAX_CLIENTS:
            self._clients.popitem(last=False)
        return free - now
