"""Compares records of files with the disk, and drops those of files that are gone.

A record is changed only after a second look, while no file is published. It is found by all that it
had when it was read, so one that has come since then stays.
"""

from collections.abc import Sequence
from typing import Final

import structlog
from attrs import frozen
from structlog.typing import FilteringBoundLogger

from galileod.ledger.base import Ledger
from galileod.ledger.records import FileEntry
from galileod.storage.base import Store
from galileod.storage.errors import StorageError
from galileod.storage.finished import Standing

from .publication import PublicationLock

PAGE: Final = 500
"""Files that are looked at in one thread call: some milliseconds."""

_log: FilteringBoundLogger = structlog.get_logger()


@frozen
class Differences:
    """How many files were not as recorded: `gone` from the disk, of another size, or `unknown`."""

    gone: int = 0
    changed: int = 0
    unknown: int = 0

    def __add__(self, other: "Differences") -> "Differences":
        return Differences(
            self.gone + other.gone, self.changed + other.changed, self.unknown + other.unknown
        )

    def __bool__(self) -> bool:
        return bool(self.gone or self.changed or self.unknown)


@frozen
class Rescanned:
    """What a rescan has looked at and found until now, or in one step: `records`, and `files`.

    `ended` once both are complete, after `seconds`.
    """

    records: int = 0
    files: int = 0
    differences: Differences = Differences()
    seconds: float = 0.0
    ended: bool = False

    def __add__(self, step: "Rescanned") -> "Rescanned":
        return Rescanned(
            self.records + step.records,
            self.files + step.files,
            self.differences + step.differences,
        )


class Checker:
    """Brings records to what is on the disk."""

    def __init__(self, store: Store, ledger: Ledger, publication: PublicationLock) -> None:
        self._store = store
        self._ledger = ledger
        self._publication = publication

    async def check(self, entries: Sequence[FileEntry]) -> Differences:
        """Compare records with the files. Raises LedgerError and StorageError."""
        if not (suspects := [each for each, _ in await self._differing(entries)]):
            return Differences()
        async with self._publication.hold([each.name for each in suspects], replaces=True):
            differing = await self._differing(suspects)
            gone = [each for each, size in differing if size is None]
            changed = [(each, size) for each, size in differing if size is not None]
            return Differences(
                gone=await self._ledger.drop_files(gone) if gone else 0,
                changed=await self._ledger.resize_files(changed) if changed else 0,
            )

    async def add(self, names: Sequence[str]) -> Differences:
        """Enter the files of these names that have no record. Raises LedgerError and StorageError.

        A file that is about to get one, since its upload ends at this moment, is left out: it holds
        the lock, or has claimed the name in the ledger.
        """
        known = await self._ledger.entries(names)
        if not (suspects := [name for name in names if name not in known]):
            return Differences()
        async with self._publication.hold(suspects, replaces=True):
            standings = await self._store.look(suspects)
            found = [
                (name, now.size)
                for name, now in zip(suspects, standings, strict=True)
                if isinstance(now, Standing)
            ]
            return Differences(unknown=await self._ledger.enter_found(found) if found else 0)

    async def _differing(
        self, entries: Sequence[FileEntry]
    ) -> Sequence[tuple[FileEntry, int | None]]:
        """The files that are not as recorded, and their sizes; None if they are gone.

        One that cannot be looked at stays as recorded.
        """
        standings = await self._store.look([each.name for each in entries])
        failures = [now for now in standings if isinstance(now, StorageError)]
        if failures:
            _log.warning("ledger.behind", reason=str(failures[0]), files=len(failures))
        return [
            (each, None if now is None else now.size)
            for each, now in zip(entries, standings, strict=True)
            if not isinstance(now, StorageError) and (now is None or now.size != each.size)
        ]
