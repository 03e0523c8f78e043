"""The contract of a ledger, as transactions composed of the functions in this package."""

import sqlite3
import time
from collections.abc import Mapping

from galileod.ledger.base import Allow, Clock, Find, Ledger, SingleUse
from galileod.policy.quota import Holding

from . import files, outbox, quota, tickets, uploads
from .database import Database, translated


class SqliteLedger(Ledger):
    """A ledger in one SQLite file, for one process that writes."""

    def __init__(self, database: Database, clock: Clock = time.time) -> None:
        self.database = database
        self.outbox = outbox.SqliteOutbox(database, clock)
        self._clock = clock

    @classmethod
    def open(cls, path: str, clock: Clock = time.time) -> "SqliteLedger":
        """Open or create the file at `path`. Blocks; raises LedgerError."""
        return cls(Database.open(path), clock)

    @classmethod
    def open_read_only(cls, path: str) -> "SqliteLedger":
        """Open the file of a daemon that may be running, to read it. Blocks; raises LedgerError."""
        return cls(Database.open_read_only(path))

    async def reserve(
        self,
        upload: str,
        user: str,
        size: int,
        allow: Allow,
        ticket: SingleUse | None = None,
    ) -> None:
        """See `Ledger.reserve`."""
        await self.database.write(self._reserve, upload, user, size, allow, ticket)

    async def promise(self, upload: str, identity: str, receipt: str) -> None:
        """See `Ledger.promise`."""
        # Later transactions of the upload need no fsync: `reconcile` repeats them from this row.
        await self.database.write_durably(uploads.promise, upload, identity, receipt)

    async def commit(self, upload: str, name: str) -> None:
        """See `Ledger.commit`."""
        await self.database.write(self._commit, upload, name)
        self.outbox.notify()

    async def release(self, upload: str) -> None:
        """See `Ledger.release`."""
        await self.database.write(uploads.release, upload)

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

    def reconcile(self, on_disk: Mapping[str, int], find: Find) -> None:
        """See `Ledger.reconcile`."""
        with self.database.transaction() as connection:
            uploads.settle_interrupted(connection, on_disk, find)
            outbox.restart(connection)
            files.reconcile(connection, on_disk)
            quota.rebuild(connection)

    def close(self) -> None:
        """See `Ledger.close`."""
        self.database.close()

    def _reserve(
        self,
        connection: sqlite3.Connection,
        upload: str,
        user: str,
        size: int,
        allow: Allow,
        ticket: SingleUse | None,
    ) -> None:
        if ticket is not None:
            tickets.use(connection, ticket, self._clock())
        allow(quota.total(connection), quota.of_user(connection, user))
        uploads.reserve(connection, upload, user, size)

    def _commit(self, connection: sqlite3.Connection, upload: str, name: str) -> None:
        uploads.commit(connection, upload, name, self._clock())
