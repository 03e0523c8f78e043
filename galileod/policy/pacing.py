"""How much to ask a client for, and how far ahead.

The window is a receive window that tunes itself, as QUIC implementations have it: when half of it
was used up in less than two round trips, it was too small. Sizes are bytes, times are seconds of
any one clock.
"""

import math
from collections import deque
from typing import Final

CHUNK_SECONDS: Final = 0.25
"""How long a chunk takes at the rate that was measured. Long enough that signals cost nothing, and
short enough that a proxy sees an answer often, and that an abandoned credit is small."""

LONGEST_CHUNK: Final = 2.0
"""Seconds that a chunk may take where few credits have to fill a long path, and on a slow line."""

GAIN: Final = 3.5
"""The window has room for so many times what is on its way in a round trip, beside two chunks: four
times, less what the rate is measured too high by now and then."""

SMALLER: Final = 0.6
"""The part of a chunk that is asked for where the window has no room for a whole one. While a round
trip takes about a fifth of a chunk's time, two chunks are too few to keep a line and a disk of one
rate busy, and three are more than the window holds. Much less would cost more than it brings."""

FIRST_CHUNK: Final = 640 * 1024
"""Bytes asked for at once before anything is known: sixteen of them fill 400 Mbit/s over 200 ms
from the first moment, and one is five seconds of a line of 1 Mbit/s. Less is asked for on a slow
line only. A busy server is no reason: smaller chunks would make it busier, and its rate smaller."""

FIRST_WINDOW: Final = 256 * 1024
"""Bytes granted before anything is known where there is no head start to give away."""

LEAST_CREDIT: Final = 250_000
"""Bytes that any credit has but at the end of a file, where the configuration lets it: clients
that know no other size than the original's would be refused for a chunk above a smaller one. A
client that has filled a credit of another size can read, and may get less if its line is slow."""


def least_credit(chunk_min: int, chunk_max: int, memory: int) -> int:
    """The smallest share of the memory that is handed out. All are bytes."""
    return min(max(chunk_min, LEAST_CREDIT), chunk_max, memory)


class Pacer:
    """Decides the size of the next credit of one upload, and how many bytes may be out.

    It is told when a credit was granted, when a chunk came, and when it was stored; the rate is
    that of the storing, so that a slow disk shrinks the window as a slow line does. The round trip
    is the shortest that was seen, since most chunks wait behind others at the client.

    `chunk` is between `chunk_min` and `chunk_max`; `window` is two chunks or more. Before anything
    is known the window is `head_start`, or small where that is little; a client that does not send
    holds that, and no more. Memory: one entry a credit that is out.
    """

    def __init__(self, chunk_min: int, chunk_max: int, max_in_flight: int, head_start: int) -> None:
        self._min, self._max, self._max_in_flight = chunk_min, chunk_max, max_in_flight
        self._never_below = least_credit(chunk_min, chunk_max, chunk_max)
        self._usual = min(max(chunk_min, FIRST_CHUNK), chunk_max)
        # Above the least chunk, so that there is a smaller one to fill the window.
        self._on_slow_line = min(int(chunk_min / SMALLER), self._usual)
        self._line_is_slow = False
        self._own = chunk_max
        self._left_over = False
        first = max(FIRST_CHUNK if head_start >= FIRST_CHUNK else FIRST_WINDOW, chunk_min)
        self.chunk = min(first, chunk_max)
        self.window = max(self.chunk, min(head_start, self.chunk * max_in_flight))
        self._granted: deque[tuple[int, float]] = deque()
        self._round_trip = math.inf
        self._came = 0
        self._epoch: float | None = None
        self._stored = 0

    def credit(self, promised: int, room: int) -> int:
        """The size of the next credit, or 0 where none is due.

        `promised` bytes are out, and `room` more are there for this upload in the memory for all.
        """
        # Two should fit into the memory, so that one comes while the other is stored; but where
        # there are so many uploads, others come meanwhile, and fewer signals are worth more.
        chunk = min(self.chunk, max((promised + room) // 2, self._usual), room)
        if not promised:
            return chunk
        least = self._min if self._line_is_slow else self._never_below
        credit = min(chunk, self.window - promised)
        fits = credit == chunk or credit >= max(SMALLER * chunk, least)
        return credit if fits and not self._left_over else 0

    def granted(self, length: int, now: float) -> None:
        """A credit of `length` bytes was sent."""
        # What credits left over is void once none is out.
        self._left_over = self._left_over and bool(self._granted)
        self._granted.append((length, now))
        if self._epoch is None:
            self._epoch = now

    def arrived(self, length: int, first_byte: float, last_byte: float) -> float | None:
        """A chunk of `length` bytes, which came between these times, answers a credit.

        Gives the seconds from the credit to its first byte, or None where there was no credit.
        """
        if not self._granted:
            return None  # an empty chunk in answer to the `ready` that asks for the end
        credit, since = self._granted.popleft()
        waited = first_byte - since
        self._round_trip = min(self._round_trip, waited)
        self._came = length or self._came
        if 0 < length < credit:
            # A chunk size of the client's own, or the end of the file: more would not be used, and
            # is not asked for again, since it would take up the window.
            self._own = max(length, self._never_below)
            self.chunk = min(self.chunk, self._own)
            # The rest of the credit takes up the window until all that are out are answered. It is
            # worth waiting for that, once; but not for a client that never fills the least credit.
            self._left_over = self._left_over or length >= self._never_below
        elif length == credit != LEAST_CREDIT:
            # Seconds for a usual chunk at the line's rate; it must be clear to change anything.
            seconds = (last_byte - first_byte) / length * self._usual
            if seconds > LONGEST_CHUNK:
                self._line_is_slow = True
            elif seconds < LONGEST_CHUNK / 2:
                self._line_is_slow = False
        return waited

    def stored(self, length: int, now: float) -> None:
        """A chunk of `length` bytes is stored, `granted` and `arrived` before."""
        self._stored += length
        # Two chunks or more, since those that are out may differ: a rate that came of one of them
        # would keep them so.
        enough = max(self.window // 2, min(2 * self.chunk, self.window))
        if self._epoch is None or self._stored < enough or now <= self._epoch:
            return
        rate = self._stored / (now - self._epoch)
        self._epoch, self._stored = now, 0
        seconds = max(CHUNK_SECONDS, GAIN * self._round_trip / self._max_in_flight)
        wanted = min(int(rate * min(seconds, LONGEST_CHUNK)), self._max)
        # Twice what came last at the most: a client may have a size of its own.
        least = self._on_slow_line if self._line_is_slow else self._usual
        chunk = max(min(wanted, 2 * self._came), least)
        self.chunk = min(chunk, self._own)
        # Of a client's own chunks, more fit into the same window.
        on_the_way = int(GAIN * (rate * self._round_trip))
        self.window = 2 * chunk + min(on_the_way, 2 * self.window)
