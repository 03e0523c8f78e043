"""The uploads that are running, for `galileod uploads`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from attrs import define, field

from galileod.shutdown import Interrupt


@define(eq=False)
class Running:
    """An upload that runs.

    It began at `began` (seconds since the epoch); this connection at `opened` (trio's time), with
    `resumed_at` bytes that the server had already. `received` returns how many it has now.
    `discard` ends it, and discards what has come, until all of it is `finished`.
    """

    upload: str
    user: str
    name: str
    size: int
    began: float
    opened: float
    resumed_at: int
    received: Callable[[], int]
    finished: bool = False
    discard: Interrupt = field(factory=Interrupt)


@contextmanager
def listed(entry: Running, running: dict[str, Running]) -> Iterator[Running]:
    """Have `entry` in `running` during the block."""
    running[entry.upload] = entry
    try:
        yield entry
    finally:
        del running[entry.upload]
