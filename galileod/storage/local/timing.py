"""Measuring how long calls to the disk take."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

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


@contextmanager
def timed(observe: Observe) -> Iterator[None]:
    """Report the duration of the block, also if it raises: a failing disk is often slow first."""
    began = time.perf_counter()
    try:
        yield
    finally:
        observe(time.perf_counter() - began)
