"""The threads of a store. Each kind of work has its own limit, so that none waits for another."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Lock
from typing import Final

import trio
from attrs import Factory, frozen

from galileod.storage.workers import Workers

from .hashing import HASHERS

WRITERS: Final = 4
"""Threads that write and hash. Two cores need fewer, but a slow disk is faster with several; with
more than this, all other work waits longer for a core."""

OPENERS: Final = 4
"""Threads for the short calls at the start of an upload, which must not wait for writes."""

COMMITTERS: Final = 16
"""Threads that commit. They wait for fsync, and writes must not wait for them."""

READERS: Final = 2
"""Threads that read back what the running hash of a continued upload does not cover."""

SYNCERS: Final = 8
"""Threads that make the data of unfinished uploads durable: at a checkpoint, and to suspend them.
Writes do not wait for them."""


LOOKERS: Final = 2
"""Threads that look at finished files, and remove them: up to some hundreds in one call."""

BATCHES: Final = 4
"""Threads that write batches of small files, and wait for their fsyncs."""

FSYNCS: Final = 8
"""Threads in which the files of all batches are synced. One commit of a filesystem's journal covers
all fsyncs that wait for it: on ext4, 64 files of 10 kB took 206 ms one after the other, 19 ms in 4
threads, 11 ms in 8, and 9 ms in 16."""


TURN_SECONDS: Final = 0.05
"""Maximum seconds that a batch waits for the one before; on tmpfs, one of 64 files takes 5 ms."""


@frozen
class Threads:
    """The limits, and the pools of threads that hash beside a writer, and that sync files."""

    writers: Workers = Factory(lambda: Workers(WRITERS))
    openers: trio.CapacityLimiter = Factory(lambda: trio.CapacityLimiter(OPENERS))
    committers: trio.CapacityLimiter = Factory(lambda: trio.CapacityLimiter(COMMITTERS))
    readers: trio.CapacityLimiter = Factory(lambda: trio.CapacityLimiter(READERS))
    syncers: trio.CapacityLimiter = Factory(lambda: trio.CapacityLimiter(SYNCERS))
    lookers: trio.CapacityLimiter = Factory(lambda: trio.CapacityLimiter(LOOKERS))
    batches: trio.CapacityLimiter = Factory(lambda: trio.CapacityLimiter(BATCHES))
    # If the disk hangs, checks block at most one thread.
    checkers: trio.CapacityLimiter = Factory(lambda: trio.CapacityLimiter(1))
    creating: Lock = Factory(Lock)  # see `in_turn`
    hashers: ThreadPoolExecutor = Factory(lambda: ThreadPoolExecutor(HASHERS, "hash"))
    fsyncs: ThreadPoolExecutor = Factory(lambda: ThreadPoolExecutor(FSYNCS, "fsync"))

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """Create files, or give them their names, one batch after the other. Blocks.

        Several at the same time wait for the same directories and for the interpreter, and take a
        fifth more of the processor. But if a filesystem hangs, the others do not wait for it: after
        TURN_SECONDS, the batch goes on beside the one before.
        """
        held = self.creating.acquire(timeout=TURN_SECONDS)
        try:
            yield
        finally:
            if held:
                self.creating.release()

    def close(self) -> None:
        """End the threads of the pools. Blocks until what runs in them has ended, except writes."""
        self.writers.close()
        self.hashers.shutdown()
        self.fsyncs.shutdown()
