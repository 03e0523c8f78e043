"""Brings the ledger back to the disk while uploads run: files removed, changed or added by hand."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

import structlog
import trio
from attrs import evolve
from structlog.typing import FilteringBoundLogger

from galileod.ledger.base import Ledger, LedgerError
from galileod.ledger.records import Selection
from galileod.storage.base import Store
from galileod.storage.errors import StorageError

from .check import PAGE, Checker, Rescanned
from .comparison import LISTED, Comparison

PAUSE: Final = 0.5
"""After each page, a pause of this many times the time that it took: so that a rescan uses at most
two thirds of one core."""

WAIT_SECONDS: Final = 10.0
"""While another rescan runs, `rescan` reports this often that it waits."""

_log: FilteringBoundLogger = structlog.get_logger()


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
            steps_of = self._compare if self._store.walks_in_order else self._look
            async with aclosing(steps_of()) as steps:
                step_began = began
                async for step in steps:
                    done += step
                    yield done
                    await trio.sleep(PAUSE * (trio.current_time() - step_began))
                    step_began = trio.current_time()
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

    async def _look(self) -> AsyncGenerator[Rescanned, None]:
        """Look at the file of each record, and then for files that have none."""
        cursor: str | None = ""
        while cursor is not None:
            entries, cursor = await self._ledger.files_from(Selection(), cursor, PAGE)
            yield Rescanned(len(entries), 0, await self._checker.check(entries))
        async with aclosing(self._store.walk(PAGE)) as pages:
            async for page in pages:
                yield Rescanned(0, len(page), await self._checker.add(list(page)))

    async def _compare(self) -> AsyncGenerator[Rescanned, None]:
        """Compare the files as they are listed with the records."""
        comparison = Comparison(self._ledger, self._checker)
        async with aclosing(self._store.walk(LISTED)) as pages:
            async for page in pages:
                async with aclosing(comparison.steps(page)) as steps:
                    async for step in steps:
                        yield step
        async with aclosing(comparison.steps({})) as steps:  # records behind the last file
            async for step in steps:
                yield step
