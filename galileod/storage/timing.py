"""Telling how long the disk takes, to whom it may concern."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from attrs import frozen

Observe = Callable[[float], None]
"""Is told seconds; called from the threads that wait for the disk."""


def unheard(_seconds: float) -> None:
    """Nobody listens."""


@frozen
class Timings:
    """Who is told of the disk's own time, without the waiting for a thread: one call, one time."""

    write: Observe = unheard
    fsync_file: Observe = unheard
    fsync_directory: Observe = unheard


@contextmanager
def timed(observe: Observe) -> Iterator[None]:
    """Tell how long the `with` block took, also where it fails: a disk that dies is slow first."""
    began = time.perf_counter()
    try:
        yield
    finally:
        observe(time.perf_counter() - began)
