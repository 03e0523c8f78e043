"""The contract of a ledger, as transactions composed of the functions in this package."""

import sqlite3
import time
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType

import structlog
from attrs import evolve
from structlog.typing import FilteringBoundLogger

from galileod.ledger.base import (
    Allow,
    Clock,
    Entered,
    Found,
    KeptUpload,
    Ledger,
    LedgerError,
    Recovery,
    Resumable,
    SingleUse,
    Step,
    StoredUpload,
    UnknownUploadError,
    WholeEntry,
    ignore_step,
)
from galileod.ledger.boot import read_boot_id
from galileod.ledger.objects import Objects
from galileod.ledger.records import About, Commit
from galileod.policy.quota import Holding

from . import files, kept, outbox, quota, restart, stored, transitions, uploads, whole
from .connection import reporting
from .database import Database
from .errors import DamagedError, translated
from .filenames import adopt_copy
from .objects import SqliteObjects
from .rebuild import rebuild
from .records import SqliteRecords
from .uploads import release

_log: FilteringBoundLogger = structlog.get_logger()


class SqliteLedger(SqliteRecords, Ledger):
    """A ledger in one SQLite file, for one process that writes."""

    def __init__(
        self,
        database: Database,
        path: str,
        clock: Clock = time.time,
        boot: str | None = None,
        *,
        rebuilt: bool = False,
    ) -> None:
        super().__init__(database, clock)
        self.objects: Objects = SqliteObjects(database)
        self._path = path
        self._rebuilt = rebuilt
        self._boot = boot or read_boot_id()

    @classmethod
    def open(
        cls,
        path: str,
        clock: Clock = time.time,
        step: Step = ignore_step,
        boot: str | None = None,
    ) -> "SqliteLedger":
        """Open the file at `path`, or create it. Blocks; raises LedgerError.

        A file whose content is not valid is set aside, and a new one made of what can be read.
        `boot` is another string after each start of the machine, by default `read_boot_id`.
        """
        with translated():
            adopt_copy(path)
        try:
            return cls(Database.open(path, step), path, clock, boot)
        except DamagedError as error:
            rebuild(path, error.damage, step)
        return cls(Database.open(path, step), path, clock, boot, rebuilt=True)

    @classmethod
    def open_read_only(cls, path: str) -> "SqliteLedger":
        """Open the file to read it: see `connection.open_read_only`. Blocks; raises LedgerError."""
        return cls(Database.open_read_only(path), path)

    async def reserve(
        self,
        upload: str,
        user: str,
        size: int,
        allow: Allow,
        ticket: SingleUse | None = None,
        resumable: Resumable | None = None,
        about: About | None = None,
    ) -> None:
        """See `Ledger.reserve`."""
        entry = WholeEntry(upload, user, size, allow, ticket, resumable, about=about)
        await self.database.write(self._reserve, entry)

    async def promise(
        self, upload: str, identity: str, receipt: str | None = None, sha1: str | None = None
    ) -> None:
        """See `Ledger.promise`."""
        # Later transactions of the upload need no fsync: `reconcile` repeats them from this row.
        await self.database.write_durably(uploads.promise, upload, identity, receipt, sha1)

    async def release(self, upload: str) -> None:
        """See `Ledger.release`."""
        await self.database.write(release, [upload])

    async def enter_whole(self, entries: Sequence[WholeEntry]) -> Sequence[Entered]:
        """See `Ledger.enter_whole`."""
        durable = any(entry.identity is not None for entry in entries)
        write = self.database.write_durably if durable else self.database.write
        return await write(self._enter_whole, entries)

    async def commit_whole(self, commits: Sequence[Commit]) -> Sequence[LedgerError | None]:
        """See `Ledger.commit_whole`."""
        results = await self.database.write(self._commit_whole, commits)
        self.outbox.notify()
        return results

    async def release_whole(self, uploads: Sequence[str]) -> None:
        """See `Ledger.release_whole`."""
        await self.database.write(release, uploads)

    async def find(self, key: str) -> Found:
        """See `Ledger.find`."""
        return await self.database.read(self._find, key)

    async def checkpoint(self, upload: str, durable: int) -> None:
        """See `Ledger.checkpoint`."""
        await self.database.write_durably(transitions.checkpoint, upload, durable, self._boot)

    async def keep(
        self, upload: str, offset: int, durable: int, seconds: float, most: int
    ) -> Sequence[KeptUpload]:
        """See `Ledger.keep`."""
        return await self.database.write_durably(self._keep, upload, offset, durable, seconds, most)

    async def resume(self, upload: str, allow: Allow) -> None:
        """See `Ledger.resume`."""
        await self.database.write(self._resume, upload, allow)

    async def expire(self, most: int) -> Sequence[KeptUpload]:
        """See `Ledger.expire`."""
        return await self.database.write(self._expire, most)

    async def give_way(self, user: str | None, *, authenticated: bool) -> KeptUpload | None:
        """See `Ledger.give_way`."""
        return await self.database.write(kept.take_next, user, authenticated=authenticated)

    async def discard(self, upload: str) -> KeptUpload | None:
        """See `Ledger.discard`."""
        return await self.database.write(kept.take, upload)

    async def kept_bytes(self, *, authenticated: bool) -> int:
        """See `Ledger.kept_bytes`."""
        return await self.database.read(kept.total_bytes, authenticated=authenticated)

    async def kept_from(self, upload: str, count: int) -> Sequence[KeptUpload]:
        """See `Ledger.kept_from`."""
        return await self.database.read(kept.page, upload, count)

    def interrupted(self) -> Mapping[str, int | None]:
        """See `Ledger.interrupted`."""
        with translated():
            return transitions.interrupted(self.database.connection, self._boot)

    async def check(self) -> None:
        """See `Ledger.check`."""
        await self.database.check()

    async def total(self) -> Holding:
        """See `Ledger.total`."""
        return await self.database.read(quota.total)

    def holdings(self) -> dict[str, Holding]:
        """See `Ledger.holdings`."""
        with translated():
            return quota.by_user(self.database.connection)

    async def holdings_from(self, user: str, count: int) -> dict[str, Holding]:
        """See `Ledger.holdings_from`."""
        return await self.database.read(quota.by_user, user, count)

    def promised(self) -> Collection[str]:
        """See `Ledger.promised`."""
        with translated():
            return {identity for _, _, identity in uploads.promised(self.database.connection)}

    def reconcile(
        self,
        on_disk: Mapping[str, int] | None,
        published: Mapping[str, str],
        step: Step = ignore_step,
        recovery: Recovery = Recovery(),  # noqa: B008  it is frozen
        modified: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        """See `Ledger.reconcile`."""
        with (
            reporting(self.database.connection, step),
            self.database.transaction() as connection,
        ):
            restart.settle(connection, on_disk, published, recovery, self._clock())
            outbox.restart(connection, on_disk)
            incomplete = self._rebuilt or files.is_empty(connection)
            unknown = 0 if on_disk is None else files.reconcile(connection, on_disk)
            self.is_new = on_disk is None and files.is_empty(connection)
            files.set_times(connection, modified)
            quota.rebuild(connection)
        if incomplete and unknown:
            _log.warning(
                "ledger.owners_unknown",
                path=self._path,
                files=unknown,
                reason="the ledger is new or was damaged, and these files count for no user",
                advice="if there is a backup of the ledger, stop galileod, copy the backup to the"
                " path, and start galileod",
            )

    def home(self) -> str | None:
        """See `Ledger.home`."""
        with translated():
            row = self.database.connection.execute("SELECT text FROM home").fetchone()
        return None if row is None else str(row[0])

    def set_home(self, home: str) -> None:
        """See `Ledger.set_home`."""
        with self.database.transaction() as connection:
            connection.execute("DELETE FROM home")
            connection.execute("INSERT INTO home VALUES (?)", (home,))

    def close(self) -> None:
        """See `Ledger.close`."""
        self.database.close()

    def _reserve(self, connection: sqlite3.Connection, entry: WholeEntry) -> None:
        whole.reserve(connection, entry, self._clock(), self._boot)

    def _enter_whole(
        self, connection: sqlite3.Connection, entries: Sequence[WholeEntry]
    ) -> Sequence[Entered]:
        return whole.enter(connection, entries, self._clock(), self._boot)

    def _commit_whole(
        self, connection: sqlite3.Connection, commits: Sequence[Commit]
    ) -> Sequence[LedgerError | None]:
        now = self._clock()
        return uploads.commit(connection, commits, now, due=now)

    def _find(self, connection: sqlite3.Connection, key: str) -> KeptUpload | StoredUpload | None:
        return whole.find(connection, key, self._clock())

    def _keep(
        self,
        connection: sqlite3.Connection,
        upload: str,
        offset: int,
        durable: int,
        seconds: float,
        most: int,
    ) -> Sequence[KeptUpload]:
        until = self._clock() + seconds
        user, authenticated = transitions.keep(
            connection, upload, offset, durable, until, self._boot
        )
        return kept.take_oldest(connection, user, most, authenticated=authenticated)

    def _resume(self, connection: sqlite3.Connection, upload: str, allow: Allow) -> None:
        found = kept.get(connection, upload)
        if found is None:
            raise UnknownUploadError("the upload is not kept in the ledger")
        # It counts either as kept or as reserved.
        allow(
            *(
                evolve(held, kept=held.kept - found.offset, kept_uploads=held.kept_uploads - 1)
                for held in (quota.total(connection), quota.of_user(connection, found.user))
            )
        )
        transitions.resume(connection, upload)

    def _expire(self, connection: sqlite3.Connection, most: int) -> Sequence[KeptUpload]:
        now = self._clock()
        stored.expire(connection, now)
        return kept.take_expired(connection, now, most)
