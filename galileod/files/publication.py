"""The order of publications: from the file on disk to its entry in the ledger."""

from collections.abc import AsyncIterator, Callable, Collection
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    nullcontext,
)

import trio

from galileod.storage.base import Store

Exclusive = Callable[[], AbstractAsyncContextManager[None]]
"""See `Store.exclusive`."""


class PublicationLock:
    """A fair readers-writer lock, held from the commit of a sink to the commit in the ledger.

    If one file replaces another, the one that is published last must be entered in the ledger
    last. A publication that replaces files therefore holds the lock exclusively; others share it.
    After a reload of `storage.on_conflict`, some running uploads may replace files and others not.

    `exclusive` is that of the store. Others than those that hold the lock exclusively do not wait
    for other nodes: they change nothing that is there.
    """

    def __init__(self, exclusive: Exclusive = nullcontext) -> None:
        self._exclusive = exclusive
        self._entrance = trio.Lock()  # first come, first served
        self._sharing = 0
        self._released = trio.lowlevel.ParkingLot()

    @asynccontextmanager
    async def hold(self, names: Collection[str], *, replaces: bool) -> AsyncIterator[None]:
        """Hold the lock for the block, for files with these names.

        Exclusively if `replaces`: what is there under a name is changed or removed; else shared.
        Raises StorageError if it is exclusive.
        """
        del names  # filesystems differ in which names are the same
        if replaces:
            # First, so that others need not wait while this one waits for a node.
            async with self._exclusive(), self._entrance:
                while self._sharing:
                    await self._released.park()
                yield
            return
        async with self._entrance:
            self._sharing += 1
        try:
            yield
        finally:
            self._sharing -= 1
            self._released.unpark_all()


class NameLock(PublicationLock):
    """A lock for each name, for a store where a name is claimed before its file is published.

    There, a file that replaces none cannot be in the way of another, and publishing one may take
    minutes, for which files of other names must not wait.
    """

    def __init__(self) -> None:
        super().__init__()
        self._locks: dict[str, trio.Lock] = {}  # of names that are held

    @asynccontextmanager
    async def hold(self, names: Collection[str], *, replaces: bool) -> AsyncIterator[None]:
        """Hold these names for the block, if `replaces`; else nothing."""
        async with AsyncExitStack() as held:
            for name in sorted(set(names)) if replaces else ():  # in one order: no deadlock
                await held.enter_async_context(self._one(name))
            yield

    @asynccontextmanager
    async def _one(self, name: str) -> AsyncIterator[None]:
        lock = self._locks.setdefault(name, trio.Lock())
        try:
            async with lock:
                yield
        finally:
            if not lock.locked() and self._locks.get(name) is lock:
                del self._locks[name]


def lock_for(store: Store) -> PublicationLock:
    """The lock for the files of a store."""
    return NameLock() if store.claims_names else PublicationLock(store.exclusive)
