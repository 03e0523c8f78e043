"""Brings the ledger back to the disk while uploads run: files removed, changed or added by hand."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

import structlog
import trio
from attrs import evolve, frozen
from structlog.typing import FilteringBoundLogger

from galileod.ledger.base import Ledger, LedgerError
from galileod.ledger.records import Selection
from galileod.storage.base import Store
from galileod.storage.errors import StorageError

from .check import PAGE, Checker, Differences

PAUSE: Final = 0.5
"""After each page, a pause of this many times the time that it took: so that a rescan uses at most
two thirds of one core."""

WAIT_SECONDS: Final = 10.0
"""While another rescan runs, `rescan` reports this often that it waits."""

_log: FilteringBoundLogger = structlog.get_logger()


@frozen
class Rescanned:
    """What a rescan has looked at and found until now: `records`, and then `files`.

    `ended` once both are complete, after `seconds`.
    """

    records: int = 0
    files: int = 0
    differences: Differences = Differences()
    seconds: float = 0.0
    ended: bool = False


class Rescanner:
    """Rescans the directory, once at a time."""

    def __init__(self, store: Store, ledger: Ledger, checker: Checker) -> None:
        self._store = store
        self._ledger = ledger
        self._checker = checker
        self._one_at_a_time = trio.Lock()
        self._wanted = trio.Event()

    def request(self) -> None:
        """Rescan soon, in the task that runs `run`; once more if a rescan runs already."""
        self._wanted.set()

    async def run(self) -> None:
        """Rescan at each request, until cancelled."""
        while True:
            await self._wanted.wait()
            self._wanted = trio.Event()
            try:
                async with aclosing(self.rescan()) as steps:
                    async for _ in steps:
                        pass
            except (LedgerError, StorageError) as error:
                _log.warning("ledger.behind", reason=f"the rescan has failed: {error}")

    async def rescan(self) -> AsyncGenerator[Rescanned, None]:
        """Compare all records with the files, and enter the files that have none.

        Gives the progress after each page; the last one has `ended`. Waits for a rescan that runs
        already. Must be closed. Raises LedgerError and StorageError; what was corrected until then
        stays so.
        """
        while not await self._acquire():
            yield Rescanned()
        try:
            began, done = trio.current_time(), Rescanned()
            async with aclosing(self._check_records()) as steps:
                async for done in steps:
                    yield done
            async with aclosing(self._add_unknown(done)) as steps:
                async for done in steps:
                    yield done
            done = evolve(done, seconds=trio.current_time() - began, ended=True)
            differences = done.differences
            _log.info(
                "ledger.rescanned",
                files=done.files,
                gone=differences.gone,
                changed=differences.changed,
                unknown=differences.unknown,
                seconds=round(done.seconds, 3),
            )
            yield done
        finally:
            self._one_at_a_time.release()

    async def _acquire(self) -> bool:
        with trio.move_on_after(WAIT_SECONDS) as scope:
            await self._one_at_a_time.acquire()
        return not scope.cancelled_caught

    async def _check_records(self) -> AsyncGenerator[Rescanned, None]:
        cursor: str | None = ""
        records, differences = 0, Differences()
        while cursor is not None:
            began = trio.current_time()
            entries, cursor = await self._ledger.files_from(Selection(), cursor, PAGE)
            differences += await self._checker.check(entries)
            records += len(entries)
            yield Rescanned(records, 0, differences)
            await _pause(began)

    async def _add_unknown(self, done: Rescanned) -> AsyncGenerator[Rescanned, None]:
        pages = self._store.walk(PAGE)
        files, differences = 0, done.differences
        try:
            while True:
                began = trio.current_time()
                names = await trio.to_thread.run_sync(next, pages, ())
                if not names:
                    return
                differences += await self._checker.add(names)
                files += len(names)
                yield Rescanned(done.records, files, differences)
                await _pause(began)
        finally:
            with trio.CancelScope(shield=True):  # it closes folders
                await trio.to_thread.run_sync(pages.close)


async def _pause(began: float) -> None:
    await trio.sleep(PAUSE * (trio.current_time() - began))
