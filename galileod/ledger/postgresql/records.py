"""The methods of the ledger that concern stored files."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from galileod.ledger.base import Clock
from galileod.ledger.outbox import Outbox
from galileod.ledger.records import FileEntry, Records, Removal, Selection, Wanted

from . import clocks, files, folders, listing, outbox
from .connection import Connection
from .database import Database

_AT_ONCE: Final = 1000
"""Rows that `PostgresqlRecords.files` reads at once."""


class PostgresqlRecords(Records):
    """The tables `files` and `folders`."""

    longest_name = files.MOST_INDEXED

    def __init__(self, database: Database, clock: Clock) -> None:
        self.database = database
        self._outbox = outbox.PostgresqlOutbox(database, clock)
        self.outbox: Outbox = self._outbox
        self._clock = clock

    async def find_files(
        self, user: str, wanted: Sequence[Wanted]
    ) -> Mapping[int, Sequence[FileEntry]]:
        """See `Records.find_files`."""
        return await self.database.read(files.find, user, wanted)

    def undated(self) -> Sequence[str]:
        """See `Records.undated`."""
        return []  # each version has recorded the times

    async def files_from(
        self, selection: Selection, cursor: str, count: int
    ) -> tuple[Sequence[FileEntry], str | None]:
        """See `Records.files_from`."""
        return await self.database.read(listing.page, selection, cursor, count)

    def files(self, selection: Selection) -> Iterator[FileEntry]:
        """See `Records.files`."""
        cursor: str | None = ""
        while cursor is not None:
            with self.database.reading() as connection:
                entries, cursor = listing.page(connection, selection, cursor, _AT_ONCE)
            yield from entries

    async def expired(
        self, retention: float | None, cursor: str, count: int
    ) -> tuple[Sequence[FileEntry], str | None]:
        """See `Records.expired`."""
        return await self.database.read(self._expired, retention, cursor, count)

    async def entries(self, names: Sequence[str]) -> Mapping[str, FileEntry]:
        """See `Records.entries`."""
        return await self.database.read(files.of_names, names)

    async def promise_removals(self, removals: Sequence[Removal]) -> None:
        """See `Records.promise_removals`."""
        owed = [(each.entry.name, each.receipt) for each in removals if each.receipt is not None]
        if owed:
            await self.database.write_durably(outbox.promise, owed)

    async def break_promises(self, names: Sequence[str]) -> None:
        """See `Records.break_promises`."""
        await self.database.write(outbox.break_promises, names)

    async def remove_files(self, removals: Sequence[Removal]) -> Sequence[str]:
        """See `Records.remove_files`."""
        empty = await self.database.write_durably(self._remove, removals)
        self.outbox.notify()
        return empty

    async def drop_files(self, entries: Sequence[FileEntry]) -> int:
        """See `Records.drop_files`."""
        return sum(await self.database.write(files.remove, entries))

    async def enter_found(self, found: Sequence[tuple[str, int]]) -> int:
        """See `Records.enter_found`."""
        return await self.database.write(files.enter_found, found)

    async def resize_files(self, changed: Sequence[tuple[FileEntry, int]]) -> int:
        """See `Records.resize_files`."""
        return await self.database.write(files.resize_unchanged, changed)

    def _expired(
        self, connection: Connection, retention: float | None, cursor: str, count: int
    ) -> tuple[Sequence[FileEntry], str | None]:
        now = clocks.earlier(connection, self._clock())
        return listing.expired(connection, retention, cursor, count, now)

    def _remove(self, connection: Connection, removals: Sequence[Removal]) -> Sequence[str]:
        names = [each.entry.name for each in removals]
        dropped = files.remove(connection, [each.entry for each in removals])
        done = [each for each, is_done in zip(removals, dropped, strict=True) if is_done]
        now = self._clock()
        kept = outbox.keep_promises(connection, [each.entry.name for each in done], now)
        owed = [
            (each.entry.name, each.receipt)
            for each in done
            if each.receipt is not None and each.entry.name not in kept
        ]
        outbox.add(connection, owed, now, "removed")
        # What is still promised is for records that have changed.
        outbox.break_promises(connection, names)
        return folders.take_empty(connection, names)
