"""A server that ends, or cannot write, while steps run: what was said to be durable is there, and
nothing is there by half."""

import os
from collections.abc import Awaitable, Callable, Sequence

import pytest
import trio
from attrs import define, field
from helpers.clocks import FakeClock
from helpers.engines.postgresql import NOBODY, Postgresql
from helpers.ledgers import allow, keep
from helpers.mounts import tmpfs
from helpers.objects import part
from psycopg.sql import SQL, Identifier, Literal

from galileod.ledger.base import LedgerError
from galileod.ledger.objects import Claim, NameTakenError
from galileod.ledger.postgresql import PostgresqlLedger
from galileod.ledger.postgresql import connection as connections
from galileod.ledger.postgresql.connection import Address
from galileod.ledger.postgresql.database import Database
from galileod.ledger.postgresql.objects import PostgresqlObjects
from galileod.ledger.postgresql.records import PostgresqlRecords
from galileod.ledger.records import Removal, Selection

pytestmark = pytest.mark.timeout(120)

Open = Callable[..., Database]

WORKERS = 3
"""Of each kind; so many of each have ended a step when the server is killed."""


@define
class Work:
    """Steps on a database, until it fails; each list has what was acknowledged."""

    database: Database
    round: int
    parts: dict[str, int] = field(factory=dict)
    names: dict[str, str] = field(factory=dict)
    promised: set[str] = field(factory=set)
    removed: set[str] = field(factory=set)
    stored: set[str] = field(factory=set)
    kept: set[str] = field(factory=set)
    enough: trio.Event = field(factory=trio.Event)

    @property
    def ledger(self) -> PostgresqlLedger:
        return PostgresqlLedger(self.database, FakeClock(), "boot")

    def all(self) -> Sequence[Callable[[int], Awaitable[None]]]:
        return (
            self.store_parts,
            self.claim_names,
            self.store_files,
            self.keep_uploads,
            self.remove_files,
        )

    async def until_it_fails(self, step: Callable[[int], Awaitable[None]]) -> None:
        number = 0
        try:
            while True:
                number += 1
                await step(number)
                ended = [len(self.parts), len(self.names), len(self.removed)]
                if min(*ended, len(self.stored), len(self.kept)) >= WORKERS:
                    self.enough.set()
        except LedgerError:
            return

    async def store_parts(self, worker: int) -> None:
        upload, objects = f"{self.round} of {worker}", self.ledger.objects
        await objects.begin(upload, 1, 1)

        async def step(number: int) -> None:
            await objects.add_part(upload, part(number))
            self.parts[upload] = number

        await self.until_it_fails(step)

    async def claim_names(self, worker: int) -> None:
        objects = self.ledger.objects

        async def step(number: int) -> None:
            upload = f"whole {self.round} {worker} {number}"
            (name,) = await objects.claim_whole([Claim(upload, 1, "a", "rename")])
            assert not isinstance(name, NameTakenError)
            self.names[upload] = name

        await self.until_it_fails(step)

    async def store_files(self, worker: int) -> None:
        ledger = self.ledger

        async def step(number: int) -> None:
            upload = f"stored {self.round} {worker} {number}"
            await ledger.reserve(upload, "anna", 7, allow)
            await ledger.promise(upload, f"id of {upload}", "{}")
            await ledger.commit(upload, upload)
            self.stored.add(upload)

        await self.until_it_fails(step)

    async def keep_uploads(self, worker: int) -> None:
        ledger = self.ledger

        async def step(number: int) -> None:
            upload = f"kept {self.round} {worker} {number}"
            await keep(ledger, upload)
            self.kept.add(upload)

        await self.until_it_fails(step)

    async def remove_files(self, worker: int) -> None:
        ledger = self.ledger

        async def step(number: int) -> None:
            name = f"{self.round} {worker} {number}"
            assert await ledger.enter_found([(name, 7)]) == 1
            removals = [Removal(one, "{}") for one in (await ledger.entries([name])).values()]
            await ledger.promise_removals(removals)
            self.promised.add(name)
            await ledger.remove_files(removals)
            self.removed.add(name)

        await self.until_it_fails(step)

    async def check(self) -> None:
        found = {one.upload: one for one in self.ledger.objects.all()}
        for upload, number in self.parts.items():
            assert number <= len(found[upload].parts) <= number + 1
        for upload, name in self.names.items():
            assert (found[upload].name, found[upload].completing) == (name, True)
        claimed = [one.name for one in found.values() if one.name is not None]
        assert len(set(claimed)) == len(claimed)
        left = {one.name for one in self.ledger.files(Selection())}
        kept = {one.upload for one in await self.ledger.kept_from("", 1000)}
        assert self.stored <= left
        assert self.kept <= kept
        assert self.removed.isdisjoint(left)
        with self.database.reading() as connection:
            owed = dict(connection.execute("SELECT name, kind FROM outbox").fetchall())
        # A file is in the ledger, or a receipt says that it was removed.
        assert self.promised | self.stored <= owed.keys()
        assert {name for name, kind in owed.items() if kind == "removed"}.isdisjoint(left)
        assert {name for name, kind in owed.items() if kind != "removed"} <= left
        total = await self.ledger.total()
        assert (total.files, total.bytes) == (len(left), 7 * len(left))
        assert (total.kept_uploads, total.kept) == (len(kept), 40 * len(kept))


async def test_what_was_durable_survives_a_server_that_is_killed_in_the_middle_of_steps(
    own_postgresql: Postgresql, open_database: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "RETRY_SECONDS", 0.0)
    database = open_database(Address(own_postgresql.new_database()))
    for number in range(3):
        work = Work(database, number)
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                for worker in range(WORKERS):
                    for of in work.all():
                        nursery.start_soon(of, worker)
                await work.enough.wait()
                await trio.to_thread.run_sync(own_postgresql.kill, "server")
        await trio.to_thread.run_sync(own_postgresql.spawn_server)
        await work.check()


def set_read_only(server: Postgresql, database: str, *, on: bool) -> None:
    """As a server that is not the primary one any more; its connections end."""
    alter = SQL("ALTER DATABASE {} SET default_transaction_read_only = {}")
    server.execute(alter.format(Identifier(database), Literal(on)))
    end = SQL("SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = {}")
    server.execute(end.format(Literal(database)))


async def test_a_server_that_becomes_read_only_is_named_and_used_again_when_it_is_not(
    own_postgresql: Postgresql, open_database: Open
) -> None:
    url = own_postgresql.new_database()
    database = open_database(Address(url))
    objects = PostgresqlObjects(database)
    await objects.begin("u1", 1, 1)
    name = url.rpartition("/")[2]
    set_read_only(own_postgresql, name, on=True)
    for step in (objects.begin("u2", 1, 1), objects.add_part("u1", part(1))):
        with pytest.raises(LedgerError, match=r"ledger\.url must name the primary server"):
            await step
    assert [one.upload for one in objects.all()] == ["u1"]
    set_read_only(own_postgresql, name, on=False)
    await objects.add_part("u1", part(1))


async def test_a_full_disk_of_the_server_is_named_and_loses_nothing(
    own_postgresql: Postgresql, open_database: Open
) -> None:
    with tmpfs(own_postgresql.folder / "small", "size=24m") as small:
        os.chown(small, NOBODY, NOBODY)
        create = SQL("CREATE TABLESPACE small LOCATION {}")
        own_postgresql.execute(create.format(Literal(str(small))))
        url = own_postgresql.new_database("TABLESPACE small")
        records = PostgresqlRecords(open_database(Address(url)), FakeClock())
        entered = 0

        async def fill() -> None:
            nonlocal entered
            while True:
                found = [(f"{number:0200}", 1) for number in range(entered, entered + 5000)]
                entered += await records.enter_found(found)

        with pytest.raises(LedgerError, match="the disk of the server is full"):
            await fill()
        assert entered
        assert sum(1 for _ in records.files(Selection())) == entered
        some = list((await records.entries([f"{n:0200}" for n in range(10)])).values())
        assert await records.drop_files(some) == 10
