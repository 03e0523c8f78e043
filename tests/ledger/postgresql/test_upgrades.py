"""Nodes of an older and of a newer galileod, whose tables differ, with one ledger."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from typing import Any, LiteralString

import psycopg
import pytest
import trio
import trio.testing
from helpers.daemon import poll
from helpers.ledger_nodes import LedgerNodes
from helpers.ledgers import allow, begin, owed
from psycopg.sql import SQL, Identifier

from galileod.ledger.base import LedgerError
from galileod.ledger.lease import LeaseLostError
from galileod.ledger.node import Me
from galileod.ledger.postgresql import Address, PostgresqlLedger, schema
from galileod.ledger.postgresql.connection import Line
from galileod.ledger.postgresql.database import Database
from galileod.ledger.postgresql.node import PostgresqlNode
from galileod.ledger.records import Selection
from galileod.ledger.unavailable import UnavailableError

pytestmark = pytest.mark.timeout(60)

MINE = len(schema.MIGRATIONS)

MORE = "; ".join(
    f"ALTER TABLE {table} ADD COLUMN more TEXT"
    for table in ("files", "uploads", "objects", "parts", "outbox", "nodes", "asks", "tickets")
)

WAITING = (
    "SELECT FROM pg_locks JOIN pg_database ON pg_database.oid = database"
    " WHERE datname = current_database() AND locktype = 'advisory' AND NOT granted"
)

PREPARED = 6
"""How often a statement is executed before the driver has prepared it."""

Newer = Callable[..., AbstractContextManager[None]]


@pytest.fixture
def nodes(ledger_url: str) -> Iterator[LedgerNodes]:
    with ExitStack() as opened:
        yield LedgerNodes(ledger_url, opened)


@pytest.fixture
def newer(monkeypatch: pytest.MonkeyPatch) -> Newer:
    """A block in which galileod is a newer one, whose tables work with the schema `oldest`."""

    @contextmanager
    def change(oldest: int, *statements: str) -> Iterator[None]:
        more = [schema.Migration(oldest, each) for each in statements or [MORE]]
        with monkeypatch.context() as changed:
            changed.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, *more))
            yield

    return change


def ask(nodes: LedgerNodes, query: Any) -> list[tuple[Any, ...]]:  # noqa: ANN401  a literal
    with psycopg.connect(nodes.url, autocommit=True) as connection:
        return connection.execute(query).fetchall()


def end_leases(nodes: LedgerNodes) -> None:
    """As if the time of all of them was over, and the server ran for long."""
    with psycopg.connect(nodes.url, autocommit=True) as connection:
        connection.execute("UPDATE nodes SET until = '-infinity'")


async def upload(ledger: PostgresqlLedger, name: str) -> None:
    """An upload that is kept, resumed and stored, with a receipt, and what else a node asks."""
    await begin(ledger, name)
    await ledger.checkpoint(name, 20)
    await ledger.objects.begin(name, 100, 50)
    await ledger.keep(name, 40, 40, 60, 16)
    assert await ledger.find(f"key of {name}")
    await ledger.resume(name, allow)
    await ledger.promise(name, "7", "receipt")
    await ledger.objects.drop(name)
    await ledger.commit(name, name)
    assert [entry.name for entry in ledger.files(Selection())].count(name) == 1
    assert name in [name for name, *_ in await owed(ledger)]
    assert ledger.node is not None
    assert await ledger.node.renew()
    assert not await ledger.node.adopt()


async def test_older_nodes_go_on_after_a_migration_that_works_with_them(
    nodes: LedgerNodes, newer: Newer
) -> None:
    old = nodes.start("old")
    for number in range(PREPARED):
        await upload(old, f"before-{number}")
    with newer(MINE):
        new = nodes.start("new")
    for number in range(PREPARED):
        await upload(old, f"old-{number}")
        await upload(new, f"new-{number}")
    await upload(nodes.start("started later"), "later")
    assert ask(nodes, "SELECT name, schema FROM nodes ORDER BY name") == [
        ("new", MINE + 1), ("old", MINE), ("started later", MINE),
    ]  # fmt: skip
    total = await new.total()
    assert (total.files, total.uploads, total.kept) == (3 * PREPARED + 1, 0, 0)


async def test_what_older_nodes_write_waits_while_the_tables_change(
    nodes: LedgerNodes, newer: Newer
) -> None:
    old = nodes.start("old")
    await upload(old, "before")
    changing = "SELECT pg_advisory_xact_lock(1)"
    with psycopg.connect(nodes.url) as holding, newer(MINE, MORE, changing):
        holding.execute(changing)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, nodes.start, "new")
            await trio.to_thread.run_sync(poll, "the change", lambda: ask(nodes, WAITING))
            nursery.start_soon(upload, old, "meanwhile")
            nursery.start_soon(upload, old, "meanwhile too")
            await trio.testing.wait_all_tasks_blocked()
            holding.rollback()
    assert (await old.total()).files == 3


async def test_a_migration_that_does_not_work_with_nodes_waits_until_they_have_stopped(
    nodes: LedgerNodes, newer: Newer
) -> None:
    one, two = nodes.start("one"), nodes.start("two")
    with newer(MINE + 1):
        for stops, running in ((one, "one (1.0), two (1.0)"), (two, "two (1.0)")):
            with pytest.raises(UnavailableError, match="nodes of an older galileod") as raised:
                nodes.start("new")
            assert f": {running}; this version cannot share them" in str(raised.value)
            await upload(stops, f"nothing has changed for {running}")
            stops.close()
        await upload(nodes.start("new"), "new")
    with pytest.raises(LedgerError, match="from a newer galileod"):
        nodes.start("one")


async def test_a_node_that_was_dead_when_the_tables_changed_writes_nothing_any_more(
    nodes: LedgerNodes, newer: Newer
) -> None:
    old = nodes.start("old")
    await begin(old, "u1")
    end_leases(nodes)
    with newer(MINE + 1):
        new = nodes.start("new")
        assert old.node is not None
        assert not await old.node.renew()
        with pytest.raises(LeaseLostError):
            await old.release("u1")
    with pytest.raises(LedgerError, match="from a newer galileod"):
        await old.node.begin_again()
    assert new.node is not None
    assert await new.node.adopt()


def test_a_node_that_starts_while_the_tables_change_is_refused(
    nodes: LedgerNodes, newer: Newer
) -> None:
    """It has looked at the version before, and gets its lease after the change."""
    address, me = Address(nodes.url), Me("old", "1" * 32, "1.0", local=False)
    with closing(Database.open(address)) as database:
        with newer(MINE + 1):
            nodes.start("new")
        with pytest.raises(LedgerError, match="from a newer galileod"):
            PostgresqlNode(database, address, me, time.time, "boot")


async def test_the_second_change_of_the_tables_waits_for_nodes_with_which_the_first_has_worked(
    nodes: LedgerNodes, newer: Newer
) -> None:
    old = nodes.start("old")
    with newer(MINE):
        middle = nodes.start("middle")
    with newer(MINE + 1, MORE, "SELECT 1"):
        with pytest.raises(UnavailableError, match=r": old \(1\.0\);"):
            nodes.start("new")
        old.close()
        await upload(nodes.start("new"), "new")
    await upload(middle, "middle")


def test_who_waits_for_a_change_of_the_tables_that_waits_for_it_may_try_again(
    nodes: LedgerNodes,
) -> None:
    """One that reads several tables, and a migration that changes them in another order."""
    nodes.start("one")
    address, both = Address(nodes.url), threading.Barrier(2, timeout=20)
    failed = list[LedgerError]()

    def lock(*tables: LiteralString) -> None:
        line = Line(address)
        try:
            with line.transaction("BEGIN") as connection:
                connection.execute(SQL("LOCK TABLE {}").format(Identifier(tables[0])))
                both.wait()
                connection.execute(SQL("LOCK TABLE {}").format(Identifier(tables[1])))
        except LedgerError as error:
            failed.append(error)
        finally:
            line.close(1.0)

    threads = [
        threading.Thread(target=lock, args=tables)
        for tables in (("files", "uploads"), ("uploads", "files"))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    (error,) = failed
    assert isinstance(error, UnavailableError)
    assert "deadlock detected; the tables were being changed" in str(error)
