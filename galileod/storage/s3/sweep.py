"""Removes what no upload knows: unfinished multipart uploads, tails, and what a check has left.

They stay behind if the object storage could not be reached when they were to be removed, if the
process was killed at the wrong moment, or if the ledger was lost.
"""

import time
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import islice
from typing import Final, TypeVar

import structlog
import trio
from attrs import define
from structlog.typing import FilteringBoundLogger

from galileod.ledger.base import LedgerError
from galileod.storage.errors import StorageError

from .removal import remove
from .shared import STATE, Shared

T = TypeVar("T")

EVERY_SECONDS: Final = 3600.0
"""Seconds between two sweeps. The first one is at the start."""

LEAST_AGE: Final = 3600.0
"""What is younger than this many seconds may belong to an upload that is about to enter it."""

FIRST_PAUSE: Final = 5.0
LONGEST_PAUSE: Final = 60.0
"""Seconds until uploads in doubt, whose names are not free, are looked at again: each pause is
twice as long as the one before."""

PAUSE: Final = 0.1
"""Seconds after each request, so that uploads come first. A thousand orphans take two minutes."""

PAGE: Final = 1000
"""Uploads or objects that are listed at once: the most that S3 lists."""

MOST_FAILURES: Final = 10
"""After so many failures a sweep ends. One that cannot be removed must not keep all others."""

_log: FilteringBoundLogger = structlog.get_logger()


@define
class _Swept:
    """What a sweep has removed, and what it could not do."""

    uploads: int = 0
    objects: int = 0
    entries: int = 0
    failures: int = 0
    reason: str | None = None


class Sweeper:
    """Sweeps below the prefix of the store. `keep` is as for `Store.maintain`."""

    def __init__(
        self, shared: Shared, keep: Callable[[], float], clock: Callable[[], float] = time.time
    ) -> None:
        self._shared = shared
        self._keep = keep
        self._clock = clock
        self._reported: str | None = None
        self._unsettled = False

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            await self.sweep()
            with trio.move_on_after(EVERY_SECONDS):
                await self._settle()

    async def _settle(self) -> None:
        """Settle uploads that are abandoned meanwhile, until cancelled."""
        pause = FIRST_PAUSE
        while True:
            if not self._unsettled:
                await self._shared.doubts.wait()
                pause = FIRST_PAUSE
            await trio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
            await self._report(self._sweep_entries)

    async def sweep(self) -> None:
        """Remove what is left behind. What fails is logged, and tried again by the next sweep."""
        oldest = self._clock() - max(LEAST_AGE, self._keep())
        await self._report(
            self._sweep_entries,
            partial(self._sweep_uploads, oldest=oldest),
            partial(self._sweep_objects, oldest=oldest),
        )

    async def _report(self, *steps: Callable[[_Swept], Awaitable[None]]) -> None:
        """Do these steps, and log what they have done."""
        swept = _Swept()
        try:
            for step in steps:
                await step(swept)
        except (StorageError, LedgerError) as error:
            swept.reason = str(error)
        if swept.uploads or swept.objects or swept.entries:
            _log.info(
                "storage.swept",
                uploads=swept.uploads,
                objects=swept.objects,
                entries=swept.entries,
            )
        if swept.reason is not None and swept.reason != self._reported:
            _log.warning("storage.not_swept", reason=swept.reason)
        self._reported = swept.reason

    async def _sweep_entries(self, swept: _Swept) -> None:
        """Forget uploads that nobody continues, and remove what the bucket has of them."""
        after, failures, self._unsettled = "", 0, False
        while failures < MOST_FAILURES and (
            found := await self._shared.objects.abandoned(after, PAGE)
        ):
            after = max(found)
            for upload, due in found.items():
                if due > self._clock():
                    self._unsettled = True
                    continue
                if await remove(self._shared, upload, self._clock):
                    swept.entries += 1
                else:
                    self._unsettled = True
                    failures += 1
                    if failures == MOST_FAILURES:
                        break
                await trio.sleep(PAUSE)

    async def _sweep_uploads(self, swept: _Swept, oldest: float) -> None:
        """Abort multipart uploads that were begun before `oldest`."""
        shared = self._shared
        every = shared.client.unfinished(shared.prefix)
        while found := await self._request(lambda: list(islice(every, PAGE))):
            old = [(key, multipart) for key, multipart, at in found if at.timestamp() < oldest]
            known = await shared.objects.known([multipart for _, multipart in old])
            for key, multipart in old:
                if multipart not in known:
                    abort = partial(shared.client.abort, key, multipart)
                    swept.uploads += await self._try(abort, swept)

    async def _sweep_objects(self, swept: _Swept, oldest: float) -> None:
        """Remove objects beside the files that were stored before `oldest`."""
        shared, after = self._shared, ""
        page = partial(shared.client.list, shared.key(STATE))
        while found := await self._request(partial(page, after, PAGE)):
            keys = [key for key, _ in found]
            after = keys[-1]
            known = await shared.objects.known_tails(keys)
            for key in keys:
                if key not in known:
                    delete = partial(self._delete_old, key, oldest)
                    swept.objects += await self._try(delete, swept)

    def _delete_old(self, key: str, oldest: float) -> bool:
        """Remove an object, if it is old enough; returns whether it was. Blocks."""
        head = self._shared.client.head(key)
        if head is None or head.modified_ns >= oldest * 1e9:
            return False
        self._shared.client.delete(key)
        return True

    async def _try(self, call: Callable[[], bool | None], swept: _Swept) -> bool:
        """Whether a request has removed something. Raises StorageError at the last failure."""
        try:
            return await self._request(call) is not False
        except StorageError as error:
            swept.failures += 1
            if swept.failures == MOST_FAILURES:
                raise
            swept.reason = str(error)
            return False

    async def _request(self, call: Callable[[], T]) -> T:
        result = await self._shared.request(call, self._shared.threads.lookers)
        await trio.sleep(PAUSE)
        return result
