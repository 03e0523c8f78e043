"""Delays of the responses to invalid credentials, which double with each failure of a client."""

from collections import OrderedDict
from typing import Final

FIRST_DELAY: Final = 0.25
"""Delay of the first response in seconds; each further delay is twice as long."""

MAX_GAP: Final = 5.0
"""Maximum seconds between two responses to one client."""

FORGET_AFTER: Final = 60.0
"""Seconds after which failures are forgotten."""

MAX_DELAY: Final = 15.0
"""Maximum delay of a response in seconds, however many responses precede it."""

MAX_CLIENTS: Final = 4096
"""Maximum number of clients that are remembered; the oldest is forgotten first."""


class Slowdown:
    """Delays responses to invalid credentials. Times are seconds of any monotonic clock.

    Simultaneous failures of one client are answered one after another. Each occupies its connection
    during the delay, even if the client disconnects; the number of connections is limited.
    """

    def __init__(self) -> None:
        self._clients: OrderedDict[str, tuple[int, float, float]] = OrderedDict()

    def failed(self, client: str, now: float) -> float:
        """A credential of `client` is invalid; returns the delay of the response in seconds."""
        failures, answered, last = self._clients.get(client, (0, now, now))
        failures = failures + 1 if now < last + FORGET_AFTER else 1
        gap = min(MAX_GAP, FIRST_DELAY * 2.0 ** min(failures - 1, 16))
        answered = min(max(now, answered) + gap, now + MAX_DELAY)
        self._clients[client] = (failures, answered, now)
        self._clients.move_to_end(client)
        if len(self._clients) > MAX_CLIENTS:
            self._clients.popitem(last=False)
        return answered - now
