"""The size of credits, and the number of bytes that may be outstanding: the window.

The window is a receive window with auto-tuning, as in QUIC implementations: if half of it is used
up in less than two round trips, it is too small. Sizes are bytes, times are seconds of any clock.
"""

import math
from collections import deque
from typing import Final

CHUNK_SECONDS: Final = 0.25
"""Target duration of a chunk at the measured rate: long enough that the cost of signals is
negligible, short enough that a proxy sees frequent traffic and an abandoned credit is small."""

LONGEST_CHUNK: Final = 2.0
"""Maximum duration of a chunk on a slow line, or if `max_in_flight` is low and round trips long."""

GAIN: Final = 3.5
"""Size of the window, in addition to two chunks, as a multiple of rate x round trip. If half of
a window is used up in exactly two round trips, the multiple is 4. The value is lower than that
because the rate is sometimes overestimated."""

MIN_PARTIAL: Final = 0.6
"""Smallest fraction of a chunk that is granted if the window has no room for a whole chunk. Partial
credits are needed if a round trip takes about a fifth of the duration of a chunk. Then the window
has room for 2.7 chunks: three do not fit, and two are too few to keep a line and a disk of equal
rate busy. Smaller fractions would cost more than they gain."""

FIRST_CHUNK: Final = 640 * 1024
"""Size of a chunk before anything is measured: sixteen of them fill 400 Mbit/s at 200 ms from the
start, and one takes five seconds at 1 Mbit/s. Only a slow line gets smaller chunks. A busy server
does not cause them: they would increase its load and lower its rate."""

FIRST_WINDOW: Final = 256 * 1024
"""Bytes granted before anything is measured if `head_start` is less than FIRST_CHUNK."""

LEAST_CREDIT: Final = 250_000
"""Minimum size of a credit, except at the end of a file, if the configuration allows it. It is the
chunk size of the original client: clients that ignore `chunksize` and always send that size would
exceed a smaller credit. If a chunk has exactly the size of a credit that is not 250,000 bytes, the
client reads `chunksize`, and may get smaller credits on a slow line."""


def least_credit(chunk_min: int, chunk_max: int, memory: int) -> int:
    """The minimum share of the memory that an upload gets, in bytes, as are the parameters."""
    return min(max(chunk_min, LEAST_CREDIT), chunk_max, memory)


class Pacer:
    """Decides the size of the next credit of one upload, and how many bytes may be outstanding.

    The caller reports each credit (`granted`), each chunk (`arrived`), and its storing (`stored`).
    The rate is measured when data is stored, so that a slow disk reduces the window as a slow line
    does. The round trip is the shortest one measured, since most chunks queue behind others at the
    client.

    `chunk` is between `chunk_min` and `chunk_max`; `window` is two chunks or more. Only before
    anything is measured, the window is `head_start`, but at most `max_in_flight` chunks; if
    `head_start` is less than FIRST_CHUNK, it is one chunk of FIRST_WINDOW bytes. A client that
    sends nothing never holds more memory than this. Memory: one entry for each outstanding credit.
    """

    def __init__(self, chunk_min: int, chunk_max: int, max_in_flight: int, head_start: int) -> None:
        self._min, self._max, self._max_in_flight = chunk_min, chunk_max, max_in_flight
        self._never_below = least_credit(chunk_min, chunk_max, chunk_max)
        self._usual = min(max(chunk_min, FIRST_CHUNK), chunk_max)
        # Above `chunk_min`, so that a partial credit is possible.
        self._on_slow_line = min(int(chunk_min / MIN_PARTIAL), self._usual)
        self._line_is_slow = False
        self._client_chunk = chunk_max  # the largest credit that the client fills
        self._carry_pending = False  # grant nothing until no credit is outstanding
        first = max(FIRST_CHUNK if head_start >= FIRST_CHUNK else FIRST_WINDOW, chunk_min)
        self.chunk = min(first, chunk_max)
        self.window = max(self.chunk, min(head_start, self.chunk * max_in_flight))
        self._granted: deque[tuple[int, float]] = deque()
        self._round_trip = math.inf
        self._last_chunk = 0
        self._epoch: float | None = None
        self._stored = 0

    def credit(self, promised: int, room: int) -> int:
        """The size of the next credit; 0 for none now.

        `promised` bytes are outstanding, and the memory has room for `room` more.
        """
        # Two credits should fit into the memory, so that one arrives while the other is stored. But
        # this never reduces a credit below the usual size: if memory is short, many other
        # uploads send in the meantime, and it is more important to send few signals.
        chunk = min(self.chunk, max((promised + room) // 2, self._usual), room)
        if not promised:
            return chunk
        least = self._min if self._line_is_slow else self._never_below
        credit = min(chunk, self.window - promised)
        fits = credit == chunk or credit >= max(MIN_PARTIAL * chunk, least)
        return credit if fits and not self._carry_pending else 0

    def granted(self, length: int, now: float) -> None:
        """A credit of `length` bytes is sent at `now`."""
        # The unused rest of answered credits lapses when no credit is outstanding.
        self._carry_pending = self._carry_pending and bool(self._granted)
        self._granted.append((length, now))
        if self._epoch is None:
            self._epoch = now

    def arrived(self, length: int, first_byte: float, last_byte: float) -> float | None:
        """A chunk of `length` bytes, received between these times, answers the oldest credit.

        Returns the seconds from the credit to its first byte, None if there was no credit.
        """
        if not self._granted:
            return None  # an empty chunk that answers the `ready` for `finished`
        credit, since = self._granted.popleft()
        waited = first_byte - since
        self._round_trip = min(self._round_trip, waited)
        self._last_chunk = length or self._last_chunk
        if 0 < length < credit:
            # The client has a fixed chunk size, or this is the end of the file. Larger credits
            # would not be filled, and would use up the window.
            self._client_chunk = max(length, self._never_below)
            self.chunk = min(self.chunk, self._client_chunk)
            # The unused rest of the credit takes up room in the window until no credit is
            # outstanding. Waiting for that once is worthwhile, since later credits have the size of
            # the client's chunks. If its chunks are smaller than the smallest credit, there is no
            # such wait, since every credit has an unused rest.
            self._carry_pending = self._carry_pending or length >= self._never_below
        elif length == credit != LEAST_CREDIT:
            # Seconds for a usual chunk at the line's rate. The factor of 2 is hysteresis.
            seconds = (last_byte - first_byte) / length * self._usual
            if seconds > LONGEST_CHUNK:
                self._line_is_slow = True
            elif seconds < LONGEST_CHUNK / 2:
                self._line_is_slow = False
        return waited

    def stored(self, length: int, now: float) -> None:
        """A chunk of `length` bytes, which has `arrived`, was stored at `now`."""
        self._stored += length
        # At least two chunks: outstanding chunks may differ in size, and a rate measured over one
        # chunk depends on its size. As the rate determines the next sizes, these would differ too.
        enough = max(self.window // 2, min(2 * self.chunk, self.window))
        if self._epoch is None or self._stored < enough or now <= self._epoch:
            return
        rate = self._stored / (now - self._epoch)
        self._epoch, self._stored = now, 0
        seconds = max(CHUNK_SECONDS, GAIN * self._round_trip / self._max_in_flight)
        wanted = min(int(rate * min(seconds, LONGEST_CHUNK)), self._max)
        # At most twice the last chunk: the client may have a fixed chunk size.
        least = self._on_slow_line if self._line_is_slow else self._usual
        chunk = max(min(wanted, 2 * self._last_chunk), least)
        self.chunk = min(chunk, self._client_chunk)
        # Not `self.chunk`: if the client's chunks are smaller, more of them fit into the window.
        in_flight = int(GAIN * (rate * self._round_trip))
        self.window = 2 * chunk + min(in_flight, 2 * self.window)
