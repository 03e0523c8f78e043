"""The order of publications: from the file on disk to its entry in the ledger."""

from collections.abc import AsyncIterator, Callable, Collection
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    nullcontext,
)
from functools import partial
from typing import Final

import trio

from galileod.ledger.elsewhere import Elsewhere
from galileod.ledger.lease import Lease
from galileod.ledger.outage import outlast
from galileod.storage.base import Store
from galileod.storage.errors import StorageBusyError

Exclusive = Callable[[], AbstractAsyncContextManager[None]]
"""See `Store.exclusive`."""

WAIT_SECONDS: Final = 300.0
"""Maximum seconds to wait for another node that replaces or removes files of the same names."""

FIRST_PAUSE: Final = 0.02
LONGEST_PAUSE: Final = 1.0
"""Seconds between two attempts to get the names. Each pause is twice as long as the one before."""


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
    async def hold(
        self, names: Collection[str], *, replaces: bool, lease: Lease | None = None
    ) -> AsyncIterator[None]:
        """Hold the lock for the block, for files with these names.

        Exclusively if `replaces`: what is there under a name is changed or removed; else shared.
        With the `lease` of this node, it outlasts an outage of the ledger. Raises StorageError if
        it is exclusive.
        """
        del names, lease  # filesystems differ in which names are the same
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
    minutes, for which files of other names must not wait. `elsewhere` are other nodes with the same
    store.
    """

    def __init__(self, elsewhere: Elsewhere | None = None) -> None:
        super().__init__()
        self._elsewhere = elsewhere
        self._locks: dict[str, trio.Lock] = {}  # of names that are held

    @asynccontextmanager
    async def hold(
        self, names: Collection[str], *, replaces: bool, lease: Lease | None = None
    ) -> AsyncIterator[None]:
        """Hold these names for the block, if `replaces`; else nothing.

        Raises LedgerError, and StorageBusyError if other nodes hold them for WAIT_SECONDS.
        """
        async with AsyncExitStack() as held:
            if replaces:
                for name in sorted(set(names)):  # in one order: no deadlock
                    await held.enter_async_context(self._one(name))
                await held.enter_async_context(self._everywhere(names, lease))
            yield

    @asynccontextmanager
    async def _everywhere(self, names: Collection[str], lease: Lease | None) -> AsyncIterator[None]:
        """Hold the names at all nodes for the block."""
        elsewhere, pause = self._elsewhere, FIRST_PAUSE
        if elsewhere is None or not names:
            yield
            return
        hold = partial(elsewhere.hold, names)
        end = trio.current_time() + WAIT_SECONDS
        try:
            while not await (hold() if lease is None else outlast(lease, hold)):
                if trio.current_time() > end:
                    raise StorageBusyError("another node is storing a file of the same name")
                await trio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
            yield
        finally:
            with trio.CancelScope(shield=True):  # the ledger's methods are bounded in time
                await elsewhere.give_back(names)

    @asynccontextmanager
    async def _one(self, name: str) -> AsyncIterator[None]:
        lock = self._locks.setdefault(name, trio.Lock())
        try:
            async with lock:
                yield
        finally:
            if not lock.locked() and self._locks.get(name) is lock:
                del self._locks[name]


def lock_for(store: Store, elsewhere: Elsewhere | None = None) -> PublicationLock:
    """The lock for the files of a store, which other nodes have too."""
    return NameLock(elsewhere) if store.claims_names else PublicationLock(store.exclusive)
