"""Removes what no upload knows: unfinished multipart uploads, and tails.

They stay behind if the object storage could not be reached when they were to be removed, if the
process was killed at the wrong moment, or if the ledger was lost.
"""

import time
from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import Final, TypeVar

import structlog
import trio
from structlog.typing import FilteringBoundLogger

from galileod.ledger.base import LedgerError
from galileod.storage.errors import StorageError

from .shared import TAIL_KEYS, Shared

T = TypeVar("T")

EVERY_SECONDS: Final = 3600.0
"""Seconds between two sweeps. The first one is at the start."""

LEAST_AGE: Final = 3600.0
"""What is younger than this many seconds may belong to an upload that is about to enter it."""

PAGE: Final = 500
"""Uploads or tails that are looked up in the ledger at once."""

_log: FilteringBoundLogger = structlog.get_logger()


class Sweeper:
    """Sweeps below the prefix of the store. `keep` is as for `Store.maintain`."""

    def __init__(self, shared: Shared, keep: Callable[[], float]) -> None:
        self._shared = shared
        self._keep = keep

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            try:
                await self.sweep()
            except (StorageError, LedgerError) as error:
                _log.warning("storage.not_swept", reason=str(error))
            await trio.sleep(EVERY_SECONDS)

    async def sweep(self) -> None:
        """Remove what is left behind. Raises StorageError and LedgerError."""
        oldest = time.time() - max(LEAST_AGE, self._keep())
        uploads = await self._sweep_uploads(oldest)
        tails = await self._sweep_tails(oldest)
        if uploads or tails:
            _log.info("storage.swept", uploads=uploads, tails=tails)

    async def _request(self, call: Callable[[], T]) -> T:
        return await self._shared.request(call, self._shared.threads.lookers)

    async def _sweep_uploads(self, oldest: float) -> int:
        """Abort multipart uploads that were begun before `oldest`; returns how many."""
        shared, aborted = self._shared, 0
        every = shared.client.unfinished(shared.prefix)
        old = ((key, multipart) for key, multipart, at in every if at.timestamp() < oldest)
        while found := await self._request(lambda: list(islice(old, PAGE))):
            known = await shared.objects.known([multipart for _, multipart in found])
            for key, multipart in found:
                if multipart not in known:
                    await self._request(partial(shared.client.abort, key, multipart))
                    aborted += 1
        return aborted

    async def _sweep_tails(self, oldest: float) -> int:
        """Remove tails that were stored before `oldest`; returns how many."""
        shared, removed, after = self._shared, 0, ""
        prefix = shared.key(TAIL_KEYS)
        while found := await self._request(partial(shared.client.list, prefix, after, PAGE)):
            keys = [key for key, _ in found]
            after = keys[-1]
            known = await shared.objects.known_tails(keys)
            for key in keys:
                if key not in known:
                    head = await self._request(partial(shared.client.head, key))
                    if head is not None and head.modified_ns < oldest * 1e9:
                        await self._request(partial(shared.client.delete, key))
                        removed += 1
        return removed
