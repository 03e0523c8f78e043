"""How much to ask a client for at once."""

from typing import Final

FIXED_CHUNK: Final = 1024 * 1024
"""Bytes in a chunk, within the configured bounds. One thread hop (some 56 microseconds) a chunk
is then a twentieth of the time that hashing and writing it take, and it is above the 250,000 of
clients that know no other size."""


FIRST_WINDOW: Final = 256 * 1024
"""Bytes granted to a client that has shown nothing yet; above the 250,000 too."""


LEAST_CREDIT: Final = 250_000
"""Bytes that any credit has but at the end of a file, where the configuration lets it: clients
that know no other size than the original's would be refused for a chunk above a smaller one."""


def least_credit(chunk_min: int, chunk_max: int, memory: int) -> int:
    """The smallest share of the memory that is handed out. All are bytes."""
    return min(max(chunk_min, LEAST_CREDIT), chunk_max, memory)


class SlowStart:
    """The numbers that the session follows: the size of a credit, and how many are out.

    The window begins with `head_start`, or small where that is little, and grows by every chunk
    that is stored, so that it doubles in a round trip, up to `max_in_flight` chunks of the full
    size. A client that does not send holds the first window, and no more. Sizes are bytes.
    """

    def __init__(self, chunk_min: int, chunk_max: int, max_in_flight: int, head_start: int) -> None:
        self._full = min(max(FIXED_CHUNK, chunk_min), chunk_max)
        self._most = self._full * max_in_flight
        small = min(max(FIRST_WINDOW, chunk_min), self._full)
        self._window = min(max(head_start, small), self._most)

    @property
    def chunk(self) -> int:
        """The size of the next credit."""
        return min(self._window, self._full)

    @property
    def in_flight(self) -> int:
        """How many credits may be out."""
        return self._window // self.chunk

    def stored(self, length: int) -> None:
        """A chunk was stored."""
        self._window = min(self._window + length, self._most)
