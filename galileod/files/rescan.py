"""Brings the ledger back to the disk while uploads run: files removed, changed or added by hand."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import structlog
import trio
from attrs import frozen
from structlog.typing import FilteringBoundLogger

from galileod.ledger.base import Ledger, LedgerError
from galileod.ledger.records import Selection
from galileod.storage.base import StorageError, Store

from .check import PAGE, Checker, Differences

PAUSE: Final = 0.5
"""After each page, a pause of this many times the time that it took: so that a rescan uses at most
two thirds of one core."""

_log: FilteringBoundLogger = structlog.get_logger()


@frozen
class Rescanned:
    """What a rescan has looked at: `records` and `files`, and what it has found until now."""

    records: int = 0
    files: int = 0
    differences: Differences = Differences()
    seconds: float = 0.0


Report = Callable[[Rescanned], None]


def ignore(_: Rescanned) -> None:
    """For callers that do not report progress."""


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
                await self.rescan()
            except (LedgerError, StorageError) as error:
                _log.warning("ledger.behind", reason=f"the directory was not compared: {error}")

    async def rescan(self, report: Report = ignore) -> Rescanned:
        """Compare all records with the files, and enter the files that have none.

        Waits for a rescan that runs already. `report` gets the progress after each page. Raises
        LedgerError and StorageError; what was corrected until then stays so.
        """
        async with self._one_at_a_time:
            began = trio.current_time()
            done = await self._add_unknown(report, await self._check_records(report))
            done = Rescanned(
                done.records, done.files, done.differences, trio.current_time() - began
            )
        differences = done.differences
        _log.info(
            "ledger.rescanned",
            files=done.files,
            gone=differences.gone,
            changed=differences.changed,
            unknown=differences.unknown,
            seconds=round(done.seconds, 3),
        )
        return done

    async def _check_records(self, report: Report) -> Rescanned:
        done, cursor, everything = Rescanned(), "", Selection()
        while True:
            began = trio.current_time()
            entries, following = await self._ledger.files_from(everything, cursor, PAGE)
            found = await self._checker.check(entries)
            done = Rescanned(done.records + len(entries), 0, done.differences + found)
            report(done)
            if following is None:
                return done
            cursor = following
            await _pause(began)

    async def _add_unknown(self, report: Report, done: Rescanned) -> Rescanned:
        pages = self._store.walk(PAGE)
        try:
            while True:
                began = trio.current_time()
                names = await trio.to_thread.run_sync(_next, pages)
                if not names:
                    return done
                found = await self._checker.add(names)
                differences = done.differences + found
                done = Rescanned(done.records, done.files + len(names), differences)
                report(done)
                await _pause(began)
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(pages.close)


async def _pause(began: float) -> None:
    await trio.sleep(PAUSE * (trio.current_time() - began))


def _next(pages: Iterator[Sequence[str]]) -> Sequence[str]:
    return next(pages, ())
