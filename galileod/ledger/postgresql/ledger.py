"""The contract of a ledger, as transactions composed of the functions in this package."""

import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
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
    UnknownUploadError,
    WholeEntry,
    ignore_step,
)
from galileod.ledger.boot import read_boot_id
from galileod.ledger.node import Me
from galileod.ledger.objects import Objects
from galileod.ledger.records import About, Commit
from galileod.policy.quota import Holding

from . import (
    clocks,
    files,
    kept,
    nodes,
    outbox,
    quota,
    restart,
    stored,
    transitions,
    uploads,
    whole,
)
from .connection import Address, Connection, reporting
from .database import Database
from .elsewhere import PostgresqlElsewhere
from .node import PostgresqlNode
from .objects import PostgresqlObjects
from .records import PostgresqlRecords

_log: FilteringBoundLogger = structlog.get_logger()


class PostgresqlLedger(PostgresqlRecords, Ledger):
    """A ledger in PostgreSQL.

    What a running daemon relies on is durable: if the server crashes, the daemon goes on, and
    nothing brings the ledger to what the store has before the next start.
    """

    node: PostgresqlNode | None = None
    elsewhere: PostgresqlElsewhere | None = None

    def __init__(
        self, database: Database, clock: Clock = time.time, boot: str | None = None
    ) -> None:
        super().__init__(database, clock)
        self.objects: Objects = PostgresqlObjects(database)
        self._boot = boot or read_boot_id()

    @classmethod
    def open(
        cls,
        address: Address,
        clock: Clock = time.time,
        step: Step = ignore_step,
        boot: str | None = None,
        me: Me | None = None,
    ) -> "PostgresqlLedger":
        """Open the ledger, or create its tables. Blocks; raises LedgerError.

        `boot` is another string after each start of the machine, by default `read_boot_id`. `me` is
        what this node is to the others; None: there are no others.
        """
        ledger = cls(Database.open(address, step), clock, boot)
        if me is not None:
            with ExitStack() as failed:
                failed.callback(ledger.database.close)
                ledger.node = PostgresqlNode(ledger.database, address, me, clock, ledger._boot)
                failed.pop_all()
            ledger.elsewhere = PostgresqlElsewhere(ledger.database, address, clock)
        return ledger

    @classmethod
    def open_read_only(cls, address: Address) -> "PostgresqlLedger":
        """Open the ledger to read it, and change nothing. Blocks; raises LedgerError."""
        return cls(Database.open_read_only(address))

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
        (result,) = await self.database.write_for(self._reserve, [entry])
        if isinstance(result, Exception):
            raise result

    async def promise(
        self, upload: str, identity: str, receipt: str | None = None, sha1: str | None = None
    ) -> None:
        """See `Ledger.promise`."""
        promise = uploads.Promise(upload, identity, receipt, sha1)
        (error,) = await self.database.write_apart_for(uploads.promise, [promise])
        if error is not None:
            raise error

    async def release(self, upload: str) -> None:
        """See `Ledger.release`."""
        await self.release_whole([upload])

    async def enter_whole(self, entries: Sequence[WholeEntry]) -> Sequence[Entered]:
        """See `Ledger.enter_whole`."""
        return await self.database.write_for(self._enter_whole, entries)

    async def commit_whole(self, commits: Sequence[Commit]) -> Sequence[LedgerError | None]:
        """See `Ledger.commit_whole`."""
        results = await self.database.write_for(self._commit_whole, commits)
        self.outbox.notify()
        return results

    async def release_whole(self, uploads: Sequence[str]) -> None:
        """See `Ledger.release_whole`."""
        await self.database.write_for(self._release, uploads)

    async def find(self, key: str) -> Found:
        """See `Ledger.find`."""
        return await self.database.read(self._find, key)

    async def checkpoint(self, upload: str, durable: int) -> None:
        """See `Ledger.checkpoint`."""
        await self.database.write_apart(transitions.checkpoint, upload, durable, self._boot)

    async def keep(
        self, upload: str, offset: int, durable: int, seconds: float, most: int
    ) -> Sequence[KeptUpload]:
        """See `Ledger.keep`."""
        return await self.database.write_durably(self._keep, upload, offset, durable, seconds, most)

    async def resume(self, upload: str, allow: Allow) -> None:
        """See `Ledger.resume`."""
        await self.database.write_durably(self._resume, upload, allow)

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
        with self.database.reading(fenced=True) as connection:
            return transitions.interrupted(connection, self._boot)

    async def check(self) -> None:
        """See `Ledger.check`."""
        await self.database.check()

    async def total(self) -> Holding:
        """See `Ledger.total`."""
        return await self.database.read(quota.total)

    def holdings(self) -> dict[str, Holding]:
        """See `Ledger.holdings`."""
        with self.database.reading() as connection:
            return quota.by_user(connection)

    async def holdings_from(self, user: str, count: int) -> dict[str, Holding]:
        """See `Ledger.holdings_from`."""
        return await self.database.read(quota.by_user, user, count)

    def promised(self) -> Collection[str]:
        """See `Ledger.promised`."""
        with self.database.reading(fenced=True) as connection:
            return {identity for _, _, identity in uploads.promised(connection)}

    def reconcile(
        self,
        on_disk: Mapping[str, int] | None,
        published: Mapping[str, str],
        step: Step = ignore_step,
        recovery: Recovery = Recovery(),  # noqa: B008  it is frozen
        modified: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        """See `Ledger.reconcile`. No file is `undated`."""
        del modified
        with (
            self.database.transaction(durable=True) as connection,
            reporting(connection, step),
        ):
            restart.settle(connection, on_disk, published, recovery, self._now())
            stored.restart(connection, self._now(), recovery.seconds)
            outbox.restart(connection, on_disk, self._outbox.holder)
            new = files.is_empty(connection)
            unknown = 0 if on_disk is None else files.reconcile(connection, on_disk)
            self.is_new = on_disk is None and new
            if nodes.are_gone(connection):  # else it would take too long for the others
                quota.rebuild(connection)
        if new and unknown:
            _log.warning(
                "ledger.owners_unknown",
                path=None,
                files=unknown,
                reason="the ledger is new, and these files count for no user",
                advice="if there is a backup of the database, stop galileod, restore the backup,"
                " and start galileod",
            )

    def home(self) -> str | None:
        """See `Ledger.home`."""
        with self.database.reading() as connection:
            row = connection.execute("SELECT text FROM home").fetchone()
        return None if row is None else str(row[0])

    def set_home(self, home: str) -> None:
        """See `Ledger.set_home`."""
        with self.database.transaction(durable=True) as connection:
            row = connection.execute("SELECT text FROM home").fetchone()
            if row is not None and row[0] != home and not nodes.are_gone(connection):
                raise LedgerError(f"nodes that are running store their files elsewhere ({row[0]})")
            connection.execute("DELETE FROM home")
            connection.execute("INSERT INTO home VALUES (%s)", (home,))

    def close(self) -> None:
        """See `Ledger.close`."""
        if self.elsewhere is not None:
            self.elsewhere.close()
        if self.node is not None:
            self.node.close()
        self.database.close()

    def _now(self) -> float:
        return self._clock() if self.node is None else self.node.now()

    def _reserve(self, connection: Connection, entries: Sequence[WholeEntry]) -> Sequence[Entered]:
        return whole.reserve(connection, entries, self._clock(), self._boot, self.database.fence)

    def _release(self, connection: Connection, names: Sequence[str]) -> Sequence[None]:
        uploads.release(connection, names)
        return [None] * len(names)

    def _enter_whole(
        self, connection: Connection, entries: Sequence[WholeEntry]
    ) -> Sequence[Entered]:
        return whole.enter(connection, entries, self._clock(), self._boot, self.database.fence)

    def _commit_whole(
        self, connection: Connection, commits: Sequence[Commit]
    ) -> Sequence[LedgerError | None]:
        return uploads.commit(connection, commits, self._now(), due=self._clock())

    def _find(self, connection: Connection, key: str) -> Found:
        return whole.find(connection, key, self._clock(), self.database.fence)

    def _keep(
        self,
        connection: Connection,
        upload: str,
        offset: int,
        durable: int,
        seconds: float,
        most: int,
    ) -> Sequence[KeptUpload]:
        until = self._now() + seconds
        user, authenticated = transitions.keep(
            connection, upload, offset, durable, until, self._boot
        )
        return kept.take_oldest(connection, user, most, authenticated=authenticated)

    def _resume(self, connection: Connection, upload: str, allow: Allow) -> None:
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

    def _expire(self, connection: Connection, most: int) -> Sequence[KeptUpload]:
        now = clocks.earlier(connection, self._clock())
        stored.expire(connection, now)
        return kept.take_expired(connection, now, most)
