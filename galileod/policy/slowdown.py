"""Who fails to prove himself again and again has to wait."""

from collections import OrderedDict
from typing import Final

FIRST: Final = 0.25
"""Seconds that the try after a first failure waits; each failure doubles it."""

MOST: Final = 5.0
"""Seconds between two tries at the most."""

FORGET: Final = 60.0
"""Seconds after which failures are forgotten."""

LONGEST: Final = 15.0
"""Seconds that a try waits at the most; one that would have to wait longer is not made."""

MAX_CLIENTS: Final = 4096
"""Clients whose failures are remembered; the oldest is forgotten first."""


class Slowdown:
    """Spaces out the tries of clients that fail. Times are seconds of any steady clock.

    Tries of one client that come at once stand in a line: each waits behind the one before.
    """

    def __init__(self) -> None:
        self._clients: OrderedDict[str, tuple[int, float, float]] = OrderedDict()

    def wait(self, client: str, now: float) -> float | None:
        """Seconds that a try of `client` must wait: it has its place in the line from now on.

        None where the line is too long: then it is not to be made.
        """
        failures, free, last = self._clients.get(client, (0, 0.0, 0.0))
        if not failures or now >= last + FORGET:
            return 0.0
        begin = max(now, free)
        if begin - now > LONGEST:
            return None
        self._note(client, failures, begin + self._gap(failures), last)
        return begin - now

    def failed(self, client: str, now: float) -> None:
        """A try of `client` was wrong."""
        failures, free, last = self._clients.get(client, (0, 0.0, 0.0))
        failures = failures + 1 if now < last + FORGET else 1
        self._note(client, failures, max(free, now + self._gap(failures)), now)

    @staticmethod
    def _gap(failures: int) -> float:
        return min(MOST, FIRST * 2.0 ** min(failures - 1, 16))

    def _note(self, client: str, failures: int, free: float, last: float) -> None:
        self._clients[client] = (failures, free, last)
        self._clients.move_to_end(client)
        if len(self._clients) > MAX_CLIENTS:
            self._clients.popitem(last=False)
