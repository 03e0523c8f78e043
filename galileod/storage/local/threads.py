"""The threads of a store. Each kind of work has its own limit, so that none waits for another."""

from concurrent.futures import ThreadPoolExecutor
from typing import Final

import trio
from attrs import Factory, frozen

from .hashing import HASHERS

WRITERS: Final = 4
"""Threads that write and hash. Fewer keep two cores busy, but a slow disk needs some; with more,
everything else waits longer for a core."""

OPENERS: Final = 4
"""Threads for the short calls at the beginning of an upload, which must not wait for writes."""

COMMITTERS: Final = 16
"""Threads that commit, and wait for fsync, which must not hold up writes."""


@frozen
class Threads:
    """The limits, and the pool of threads that hash beside a writer."""

    writers: trio.CapacityLimiter = Factory(lambda: trio.CapacityLimiter(WRITERS))
    openers: trio.CapacityLimiter = Factory(lambda: trio.CapacityLimiter(OPENERS))
    committers: trio.CapacityLimiter = Factory(lambda: trio.CapacityLimiter(COMMITTERS))
    # While the disk hangs, checks leave no more than one thread behind.
    checkers: trio.CapacityLimiter = Factory(lambda: trio.CapacityLimiter(1))
    hashers: ThreadPoolExecutor = Factory(lambda: ThreadPoolExecutor(HASHERS, "hash"))
