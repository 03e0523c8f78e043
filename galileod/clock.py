"""A clock for trio that leaves out the time in which the process was paused.

A process does not run while it is stopped (SIGSTOP), frozen (a container), or part of a virtual
machine that is frozen. When it continues, data may wait in its sockets that arrived in time. With
the system's clock every deadline would be over before that data is read. CLOCK_MONOTONIC already
leaves out the time in which the machine is suspended.
"""

from collections.abc import Callable
from time import perf_counter
from typing import Final

import trio

MAX_WAIT: Final = 1.0
"""Maximum seconds of a wait for I/O. A wait that was to be short, and was long, shows the pause."""

TOLERANCE: Final = 0.25
"""Seconds that the process may be late before that counts as a pause."""

RUNNING: Final = 1.0
"""After a pause as many seconds must be counted as it was long, but no more than this, before the
next one is left out. So the clock of a process that is always late, on an overloaded machine,
advances at half the speed at least."""

FAR_LONGER: Final = 4
"""A delay is left out in any case if it is this many times as long as the last one: a pause on a
machine that is often a little late."""


class ProcessClock(trio.abc.Clock):
    """Seconds in which the process ran, or could have run.

    `system_time` returns the seconds of a clock that never goes backwards.

    trio calls `deadline_to_sleep_time` before it waits for I/O, unless tasks can run, and
    `current_time` after each wait, with or without a timeout, before it looks for deadlines that
    are over (trio 0.35: `unrolled_run` in trio/_core/_run.py). So after a pause the process reads
    its sockets first.
    """

    def __init__(self, system_time: Callable[[], float] = perf_counter) -> None:
        self._system_time = system_time
        self._last = self._now = system_time()
        self._left_out = 0.0
        self._may_wait = 0.0
        self._counted = 0.0  # since the last pause
        self._last_pause = 0.0

    def start_clock(self) -> None:
        """Begin: the time since the clock was made does not count."""
        self._last = self._system_time()
        self._left_out = self._last - self._now

    def current_time(self) -> float:
        """The time in seconds; it never decreases."""
        system_time = self._system_time()
        step = system_time - self._last
        late = step > self._may_wait + TOLERANCE
        self._last, self._may_wait = system_time, 0.0
        if late and self._may_leave_out(step):
            self._left_out = system_time - self._now
            self._counted, self._last_pause = 0.0, step
        else:
            # Rounding must not set the time back.
            self._now = max(self._now, system_time - self._left_out)
            self._counted += step
        return self._now

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """Seconds to wait for I/O until `deadline`, but at most MAX_WAIT."""
        left = deadline - self.current_time()
        self._may_wait = min(max(left, 0.0), MAX_WAIT)
        return self._may_wait

    def _may_leave_out(self, step: float) -> bool:
        last = self._last_pause
        return self._counted >= min(last, RUNNING) or step > FAR_LONGER * last
