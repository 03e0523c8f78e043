"""The order of publications: from the file on disk to its entry in the ledger."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


class PublicationLock:
    """A fair readers-writer lock, held from the commit of a sink to the commit in the ledger.

    If one file replaces another, the one that is published last must be entered in the ledger
    last. A publication that replaces files therefore holds the lock exclusively; others share it.
    After a reload of `storage.on_conflict`, some running uploads may replace files and others not.
    """

    def __init__(self) -> None:
        self._entrance = trio.Lock()  # first come, first served
        self._sharing = 0
        self._released = trio.lowlevel.ParkingLot()

    @asynccontextmanager
    async def hold(self, *, replaces: bool) -> AsyncIterator[None]:
        """Hold the lock for the block: exclusively if `replaces`, else shared."""
        async with self._entrance:
            if replaces:
                while self._sharing:
                    await self._released.park()
                yield
                return
            self._sharing += 1
        try:
            yield
        finally:
            self._sharing -= 1
            self._released.unpark_all()
