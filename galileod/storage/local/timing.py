"""Measuring how long calls to the disk take."""

import time
from collections.abc import Callable

from attrs import frozen

Observe = Callable[[float], None]
"""Receives a duration in seconds; called from the thread that made the call."""


def ignore(_seconds: float) -> None:
    """Do nothing with a duration."""


@frozen
class Timings:
    """Callbacks for the duration of each call. The wait for a thread is not included."""

    write: Observe = ignore
    fsync_file: Observe = ignore
    fsync_directory: Observe = ignore


class timed:  # noqa: N801  used as a function; a generator would take four times as long
    """Report the duration of the block, also if it raises: a failing disk is often slow first."""

    __slots__ = ("_began", "_observe")

    def __init__(self, observe: Observe) -> None:
        self._observe = observe

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(self, *_exc_info: object) -> None:
        self._observe(time.perf_counter() - self._began)
