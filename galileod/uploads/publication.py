"""The order of publications: from the file on disk to its entry in the ledger."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


class PublicationLock:
    """A fair readers-writer lock, held from the commit of a sink to the commit in the ledger.

    Of two files that replace each other, the last in the store must be the last in the ledger.
    So a publication that replaces files excludes all others; those that do not, share the lock.
    Both kinds may meet after a reload of `storage.on_conflict`.
    """

    def __init__(self) -> None:
        self._entrance = trio.Lock()  # first come, first served
        self._sharing = 0
        self._left = trio.lowlevel.ParkingLot()

    @asynccontextmanager
    async def hold(self, *, replaces: bool) -> AsyncIterator[None]:
        """Hold the lock for the block: alone if `replaces`, else shared."""
        async with self._entrance:
            if replaces:
                while self._sharing:
                    await self._left.park()
                yield
                return
            self._sharing += 1
        try:
            yield
        finally:
            self._sharing -= 1
            self._left.unpark_all()
