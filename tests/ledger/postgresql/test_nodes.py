"""Nodes in one database: who gets a lease, who loses it, and that nothing is written without it."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
import trio
from attrs import evolve
from helpers.engines.postgresql import Postgresql

from galileod.ledger import lease
from galileod.ledger.base import LedgerError
from galileod.ledger.lease import LeaseLostError
from galileod.ledger.node import Me
from galileod.ledger.postgresql.connection import Address, Connection
from galileod.ledger.postgresql.database import Database
from galileod.ledger.postgresql.node import PostgresqlNode

pytestmark = pytest.mark.timeout(60)

ONE, TWO = Me("one", "1" * 32, "1.0", local=False), Me("two", "2" * 32, "1.0", local=False)

Start = Callable[[Me], PostgresqlNode]


@pytest.fixture
def start(address: Address) -> Iterator[Start]:
    """Starts a node with connections of its own."""
    with ExitStack() as opened:

        def begin(me: Me) -> PostgresqlNode:
            database = Database.open(address)
            opened.callback(database.close)
            node = PostgresqlNode(database, address, me, time.time, "boot")
            opened.callback(node._line.close, 2.0)
            return node

        yield begin


def write(connection: Connection) -> None:
    connection.execute("INSERT INTO folders VALUES ('a')")


def count(database: Database) -> int:
    with database.reading() as connection:
        row = connection.execute("SELECT count(*) FROM folders").fetchone()
    assert row is not None
    return int(row[0])


def end_leases(database: Database) -> None:
    """As if the time of all of them was over by the clock of the database."""
    with database.transaction(fenced=False) as connection:
        connection.execute("UPDATE nodes SET until = clock_timestamp()")


async def test_a_node_tells_its_settings_to_those_that_run(start: Start) -> None:
    one, two = start(ONE), start(TWO)
    assert await one.declare({"quota.total_files": "1"}) == {}
    assert await two.declare({"quota.total_files": "2"}) == {"one": {"quota.total_files": "1"}}
    assert await one.declare({"quota.total_files": "3"}) == {"two": {"quota.total_files": "2"}}
    assert await two.declare({}) == {"one": {"quota.total_files": "3"}}
    one.close()
    assert await two.declare({}) == {}


async def test_a_node_has_a_valid_lease_and_renews_it(start: Start) -> None:
    node = start(ONE)
    assert node.lease.is_valid()
    assert await node.renew()
    await node._database.write(write)
    assert count(node._database) == 1


async def test_nodes_write_to_one_ledger(start: Start) -> None:
    one, two = start(ONE), start(TWO)
    assert await one.renew()
    assert await two.renew()
    await one._database.write(write)
    assert count(two._database) == 1


async def test_a_lease_that_is_over_is_renewed_unless_it_was_taken(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "LEASE_SECONDS", 0.1)
    one = start(ONE)
    end_leases(one._database)
    start(TWO)
    assert await one.renew()


async def test_the_name_of_a_node_that_may_write_is_refused(start: Start) -> None:
    start(ONE)
    with pytest.raises(LedgerError, match='another galileod with the name "one" uses it'):
        start(evolve(TWO, name="one"))


async def test_a_copy_of_the_state_directory_is_refused(start: Start) -> None:
    start(ONE)
    with pytest.raises(LedgerError, match="one directory is a copy of the other"):
        start(evolve(ONE, name="two"))


async def test_a_node_that_is_started_again_takes_over_its_own_lease(start: Start) -> None:
    first = start(ONE)
    second = start(ONE)
    assert second._fence > first._fence
    with pytest.raises(LeaseLostError):
        await first._database.write(write)
    assert not await first.renew()
    assert await second.renew()
    await second._database.write(write)


async def test_a_node_with_a_new_name_takes_over_its_own_lease(start: Start) -> None:
    start(ONE).close()
    node = start(evolve(ONE, name="other"))
    with node._database.reading() as connection:
        assert connection.execute("SELECT name FROM nodes").fetchall() == [("other",)]


@pytest.mark.parametrize("way", ["write", "write_durably", "write_apart"])
async def test_nothing_is_written_when_the_lease_is_lost(start: Start, way: str) -> None:
    first = start(ONE)
    second = start(ONE)
    with pytest.raises(LeaseLostError):
        await getattr(first._database, way)(write)
    assert count(second._database) == 0
    await getattr(second._database, way)(write)
    assert count(second._database) == 1


async def test_a_lease_that_was_lost_begins_again_with_another_number(start: Start) -> None:
    first = start(ONE)
    second = start(ONE)
    first.lease.lose()
    second.close()
    await first.begin_again()
    assert first.lease.is_valid()
    await first._database.write(write)
    with pytest.raises(LeaseLostError):
        await second._database.write(write)


async def test_no_number_is_given_again_after_the_database_was_set_back(start: Start) -> None:
    """As by a restore, or a failover to a standby that lacks the last transactions."""
    fences = [(start(me)._fence, me.name) for me in (ONE, TWO)]
    one, two = start(ONE), start(TWO)
    with one._database.transaction(fenced=False) as connection:
        for _, name in fences:
            connection.execute("UPDATE nodes SET fence = -fence WHERE name = %s", (name,))
        for before in fences:
            connection.execute("UPDATE nodes SET fence = %s WHERE name = %s", before)
        connection.execute("SELECT setval('fences', %s)", (max(fences)[0],))
    await two.begin_again()
    assert two._fence not in {one._fence, *(fence for fence, _ in fences)}
    assert not await one.renew()
    for way in (one._database.write, one._database.write_apart):
        with pytest.raises(LeaseLostError):
            await way(write)
    await one.begin_again()
    assert await one.renew()
    assert await two.renew()


async def test_a_lease_that_a_later_process_has_is_not_taken_back_while_that_runs(
    start: Start,
) -> None:
    first = start(ONE)
    second = start(evolve(ONE, host="clone"))
    assert not await first.renew()
    assert first.taken_on == "clone"
    first.lease.lose()
    with pytest.raises(LedgerError, match=r"runs on clone, since .* is a copy of the other"):
        await first.begin_again()
    assert await second.renew()
    second.close()
    await first.begin_again()
    assert first.lease.is_valid()


async def test_a_lease_that_another_node_has_ended_was_taken_by_no_later_process(
    start: Start,
) -> None:
    first, second = start(ONE), start(TWO)
    with second._database.transaction() as connection:
        connection.execute("UPDATE nodes SET fence = nextval('fences') WHERE name = 'one'")
        connection.execute("UPDATE nodes SET until = '-infinity' WHERE name = 'one'")
    assert not await first.renew()
    assert first.taken_on is None
    first.lease.lose()
    await first.begin_again()


async def test_a_node_takes_back_a_lease_that_it_was_given_without_an_answer(start: Start) -> None:
    """The connection was cut after COMMIT: the number in the table is its own."""
    first = start(ONE)
    known = first._database.fence
    await first.begin_again()
    first._database.fence = known
    await first.begin_again()
    assert await first.renew()


@pytest.mark.parametrize("way", ["write", "write_apart"])
async def test_who_takes_over_waits_for_what_is_being_written(start: Start, way: str) -> None:
    """Nothing is written with a number after another one was given."""
    first, began, go = start(ONE), threading.Event(), threading.Event()
    seconds = list[PostgresqlNode]()

    def slow(connection: Connection) -> None:
        began.set()
        assert go.wait(20)
        write(connection)

    async def take_over() -> None:
        seconds.append(await trio.to_thread.run_sync(start, ONE))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(getattr(first._database, way), slow)
        await trio.to_thread.run_sync(began.wait, 20)
        nursery.start_soon(take_over)
        await wait_for_lock(first._database)
        assert not seconds
        go.set()
    assert count(seconds[0]._database) == 1


async def test_a_renewal_does_not_wait_for_what_is_being_written(start: Start) -> None:
    node, began, go = start(ONE), threading.Event(), threading.Event()

    def slow(_: Connection) -> None:
        began.set()
        assert go.wait(20)

    async with trio.open_nursery() as nursery:
        for way in (node._database.write, node._database.write_apart):
            nursery.start_soon(way, slow)
        await trio.to_thread.run_sync(began.wait, 20)
        try:
            assert await node.renew()
        finally:
            go.set()


async def test_a_restart_of_the_server_ends_no_lease(own_postgresql: Postgresql) -> None:
    """While it was away, nobody could renew one."""
    address = Address(own_postgresql.new_database())
    with ExitStack() as opened:
        database = Database.open(address)
        opened.callback(database.close)
        node = PostgresqlNode(database, address, ONE, time.time, "boot")
        opened.callback(node._line.close, 2.0)
        end_leases(database)
        own_postgresql.kill("server")
        own_postgresql.spawn_server()
        other = Database.open(address)
        opened.callback(other.close)
        with pytest.raises(LedgerError, match='with the name "one"'):
            PostgresqlNode(other, address, evolve(TWO, name="one"), time.time, "boot")


async def wait_for_lock(database: Database) -> None:
    """Wait until a transaction waits for another one."""
    with trio.fail_after(20):
        while True:
            with database.reading() as connection:
                waiting = connection.execute(
                    "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                    " AND datname = current_database()"
                ).fetchone()
            if waiting:
                return
            await trio.sleep(0.01)


async def test_nothing_is_written_without_the_row_that_is_locked(start: Start) -> None:
    node = start(ONE)
    with node._database.transaction(fenced=False) as connection:
        connection.execute("DELETE FROM totals")
    with pytest.raises(LedgerError, match="the table totals is empty"):
        await node._database.write(write)
    assert count(node._database) == 0
