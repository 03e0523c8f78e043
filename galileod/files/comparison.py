"""Compares the records with a listing that has the files in the same order, with their sizes.

So object storage is asked for a page of files at once. A request for each file would take an hour
for a million files. Only where listing and records differ, the file is looked at: a listing may be
out of date. If its order is another one, more files are looked at, and the result is the same.
"""

from bisect import bisect_right
from collections.abc import AsyncGenerator, Mapping, Sequence
from operator import attrgetter
from typing import Final

from galileod.ledger.base import Ledger
from galileod.ledger.records import FileEntry, Selection

from .check import Checker, Differences, Rescanned

LISTED: Final = 1000
"""Files that are listed at once, and records that are read at once: the most that S3 lists."""


class Comparison:
    """Goes through all records once, beside the listing."""

    def __init__(self, ledger: Ledger, checker: Checker) -> None:
        self._ledger = ledger
        self._checker = checker
        self._cursor: str | None = ""
        self._ahead: Sequence[FileEntry] = ()

    async def steps(self, page: Mapping[str, int | None]) -> AsyncGenerator[Rescanned, None]:
        """Compare the next files of the listing; at last none, for the records behind it.

        Gives what each step has done. Raises LedgerError and StorageError.
        """
        last = max(page, default=None)
        unknown = dict.fromkeys(page)
        while entries := await self._take(last):
            for each in entries:
                unknown.pop(each.name, None)
            differing = [each for each in entries if page.get(each.name) != each.size]
            differences = await self._checker.check(differing) if differing else Differences()
            yield Rescanned(len(entries), 0, differences)
        differences = await self._checker.add(list(unknown)) if unknown else Differences()
        yield Rescanned(0, len(page), differences)

    async def _take(self, last: str | None) -> Sequence[FileEntry]:
        """The next records with names up to `last`, None: all; at most LISTED, none at the end."""
        if not self._ahead and self._cursor is not None:
            self._ahead, self._cursor = await self._ledger.files_from(
                Selection(), self._cursor, LISTED
            )
        count = len(self._ahead)
        if last is not None:
            count = bisect_right(self._ahead, last, key=attrgetter("name"))
        taken, self._ahead = self._ahead[:count], self._ahead[count:]
        return taken
