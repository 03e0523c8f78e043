"""The contract of a ledger, as transactions composed of the functions in this package."""

import sqlite3
import time
from collections.abc import Collection, Mapping

import structlog
from structlog.typing import FilteringBoundLogger

from galileod.ledger.base import Allow, Clock, Ledger, SingleUse, Step, ignore_step
from galileod.policy.quota import Holding

from . import files, outbox, quota, tickets, uploads
from .connection import reporting
from .database import Database
from .errors import DamagedError, translated
from .filenames import adopt_copy
from .rebuild import rebuild

_log: FilteringBoundLogger = structlog.get_logger()


class SqliteLedger(Ledger):
    """A ledger in one SQLite file, for one process that writes."""

    def __init__(
        self, database: Database, path: str, clock: Clock = time.time, *, rebuilt: bool = False
    ) -> None:
        self.database = database
        self._path = path
        self._rebuilt = rebuilt
        self.outbox = outbox.SqliteOutbox(database, clock)
        self._clock = clock

    @classmethod
    def open(cls, path: str, clock: Clock = time.time, step: Step = ignore_step) -> "SqliteLedger":
        """Open the file at `path`, or create it. Blocks; raises LedgerError.

        A file whose content is not valid is set aside, and a new one made of what can be read.
        """
        with translated():
            adopt_copy(path)
        try:
            return cls(Database.open(path, step), path, clock)
        except DamagedError as error:
            rebuild(path, error.reason, step)
        return cls(Database.open(path, step), path, clock, rebuilt=True)

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

    async def holdings_from(self, user: str, count: int) -> dict[str, Holding]:
        """See `Ledger.holdings_from`."""
        return await self.database.read(quota.by_user, user, count)

    def promised(self) -> Collection[str]:
        """See `Ledger.promised`."""
        with translated():
            return {identity for _, _, identity in uploads.promised(self.database.connection)}

    def reconcile(
        self, on_disk: Mapping[str, int], published: Mapping[str, str], step: Step = ignore_step
    ) -> None:
        """See `Ledger.reconcile`."""
        with (
            reporting(self.database.connection, step),
            self.database.transaction() as connection,
        ):
            uploads.settle_interrupted(connection, on_disk, published)
            outbox.restart(connection)
            incomplete = self._rebuilt or files.is_empty(connection)
            unknown = files.reconcile(connection, on_disk)
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
