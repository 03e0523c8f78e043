"""Transactions in PostgreSQL: what is rolled back, who waits, and connections that break."""

import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
import trio
from helpers.engines.postgresql import Postgresql
from trio.testing import wait_all_tasks_blocked

from galileod.ledger.base import LedgerError
from galileod.ledger.postgresql import connection as connections
from galileod.ledger.postgresql.connection import Address, Connection
from galileod.ledger.postgresql.database import Database
from galileod.ledger.unavailable import UnavailableError

pytestmark = pytest.mark.timeout(60)

Open = Callable[..., Database]

COUNT = "SELECT count(*) FROM folders"


def remember(number: int) -> Callable[[Connection], int]:
    def step(connection: Connection) -> int:
        connection.execute("INSERT INTO folders VALUES (%s)", (str(number),))
        return number

    return step


def numbers(database: Database) -> set[int]:
    with database.reading() as connection:
        return {int(path) for (path,) in connection.execute("SELECT path FROM folders")}


def transaction(connection: Connection) -> str:
    """The number of the transaction in which a step runs."""
    row = connection.execute("SELECT pg_current_xact_id()::TEXT").fetchone()
    assert row is not None
    return str(row[0])


def end_connections(database: Database) -> None:
    """End all connections of the database's user but the one that does it."""
    with database.reading() as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


@asynccontextmanager
async def busy(run: Callable[..., Awaitable[None]]) -> AsyncIterator[None]:
    """A step that `run` runs goes on during the block, and ends with it."""
    began, go = threading.Event(), threading.Event()

    def hang(_: Connection) -> None:
        began.set()
        go.wait(5)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, hang)
        await trio.to_thread.run_sync(began.wait, 20)
        try:
            yield
            await wait_all_tasks_blocked()
        finally:
            go.set()


# Transactions.


@pytest.mark.parametrize("way", ["write", "write_durably", "write_apart"])
async def test_a_step_takes_effect_as_a_whole(database: Database, way: str) -> None:
    def step(connection: Connection) -> None:
        remember(1)(connection)
        raise KeyError("odd")

    run = getattr(database, way)
    with pytest.raises(KeyError, match="odd"):
        await run(step)
    assert numbers(database) == set()
    assert await run(remember(2)) == 2
    assert numbers(database) == {2}


@pytest.mark.parametrize("way", ["write", "write_apart"])
async def test_of_the_steps_that_share_a_transaction_one_that_raises_is_undone_alone(
    database: Database, way: str
) -> None:
    run = getattr(database, way)
    failures, shared = list[Exception](), set[str]()

    async def fail(step: Callable[[Connection], object], error: type[Exception]) -> None:
        with pytest.raises(error) as raised:
            await run(step)
        failures.append(raised.value)

    def odd(connection: Connection) -> None:
        remember(2)(connection)
        raise KeyError("odd")

    def unnoticed(connection: Connection) -> None:
        try:
            connection.execute("SELECT 1 / 0")
        except Exception:  # noqa: BLE001, S110  what a step with a mistake does
            pass

    async def good(number: int) -> None:
        shared.add(await run(transaction))
        await run(remember(number))

    async with trio.open_nursery() as nursery, busy(run):
        nursery.start_soon(good, 1)
        nursery.start_soon(fail, odd, KeyError)
        nursery.start_soon(fail, lambda connection: connection.execute("SELECT 1 / 0"), LedgerError)
        nursery.start_soon(fail, unnoticed, LedgerError)
        nursery.start_soon(good, 3)
        await wait_all_tasks_blocked()
    assert numbers(database) == {1, 3}
    assert len(shared) == 1
    assert len(failures) == 3


@pytest.mark.parametrize(
    ("error", "calls"), [(KeyError, [[1, 2, 3], [1], [2, 3]]), (UnavailableError, [[1, 2, 3]])]
)
async def test_a_step_for_many_callers_that_raises_is_tried_for_each_unless_the_database_is_away(
    database: Database, error: type[Exception], calls: list[list[int]]
) -> None:
    seen, results = list[Sequence[int]](), list[object]()

    def step(connection: Connection, items: Sequence[int]) -> Sequence[int]:
        seen.append(items)
        for number in items:
            remember(number)(connection)
        if 3 in items:
            raise error("odd")
        return [10 * number for number in items]

    async def write(items: Sequence[int]) -> None:
        try:
            results.append(await database.write_for(step, items))
        except error as raised:
            results.append(type(raised))

    async with trio.open_nursery() as nursery, busy(database.write):
        nursery.start_soon(write, [1])
        await wait_all_tasks_blocked()
        nursery.start_soon(database.write, remember(0))
        nursery.start_soon(write, [2, 3])
        await wait_all_tasks_blocked()
    alone = len(calls) > 1
    assert seen == calls
    assert results == [[10] if alone else error, error]
    assert numbers(database) == ({0, 1} if alone else {0})


async def test_a_step_that_hides_an_error_has_failed(database: Database) -> None:
    def step(connection: Connection) -> None:
        remember(1)(connection)
        try:
            connection.execute("SELECT 1 / 0")
        except Exception:  # noqa: BLE001, S110  what a step with a mistake does
            pass

    with pytest.raises(LedgerError, match="rolled back"):
        await database.write(step)
    assert numbers(database) == set()
    await database.write(remember(2))


async def test_a_transaction_that_cannot_commit_fails_for_all_its_steps(database: Database) -> None:
    await database.write(
        lambda connection: connection.execute(
            "ALTER TABLE folders ADD UNIQUE (path) DEFERRABLE INITIALLY DEFERRED"
        )
    )
    await database.write(
        lambda connection: connection.execute("ALTER TABLE folders DROP CONSTRAINT folders_pkey")
    )
    failed = list[LedgerError]()

    async def write(number: int) -> None:
        with pytest.raises(LedgerError, match="duplicate key") as raised:
            await database.write(remember(number))
        failed.append(raised.value)

    async with trio.open_nursery() as nursery, busy(database.write):
        for number in (1, 2, 2):
            nursery.start_soon(write, number)
        await wait_all_tasks_blocked()
    assert len({id(error) for error in failed}) == 3
    assert numbers(database) == set()


async def test_what_is_read_is_one_state_of_the_database(
    database: Database, open_database: Open
) -> None:
    other = open_database()
    began, go = threading.Event(), threading.Event()
    seen = list[object]()

    def look(connection: Connection) -> None:
        seen.extend(connection.execute(COUNT).fetchall())
        began.set()
        go.wait(5)
        seen.extend(connection.execute(COUNT).fetchall())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(database.read, look)
        await trio.to_thread.run_sync(began.wait, 20)
        await other.write(remember(1))
        go.set()
    assert seen == [(0,), (0,)]


async def test_a_step_that_reads_cannot_write(database: Database) -> None:
    with pytest.raises(LedgerError, match="read-only"):
        await database.read(remember(1))


@pytest.mark.parametrize(
    ("way", "level"), [("write", "off"), ("write_durably", "on"), ("write_apart", "on")]
)
async def test_only_what_is_durable_waits_for_the_disk(
    database: Database, way: str, level: str
) -> None:
    def look(connection: Connection) -> object:
        return connection.execute("SHOW synchronous_commit").fetchone()

    assert await getattr(database, way)(look) == (level,)


# Many processes.


async def test_steps_of_all_processes_run_one_after_the_other(open_database: Open) -> None:
    databases = [open_database() for _ in range(3)]

    def increase(connection: Connection) -> None:
        row = connection.execute("SELECT bytes FROM totals").fetchone()
        assert row is not None
        connection.execute("UPDATE totals SET bytes = %s", (row[0] + 1,))

    async with trio.open_nursery() as nursery:
        for number in range(150):
            nursery.start_soon(databases[number % 3].write, increase)
    with databases[0].reading() as connection:
        assert connection.execute("SELECT bytes FROM totals").fetchone() == (150,)


async def test_each_process_shares_transactions_among_its_own_steps(open_database: Open) -> None:
    databases = [open_database() for _ in range(2)]
    used = [set[str](), set[str]()]

    async def write(which: int, number: int) -> None:
        def step(connection: Connection) -> None:
            remember(number)(connection)
            used[which].add(transaction(connection))

        await databases[which].write(step)

    async with trio.open_nursery() as nursery, busy(databases[0].write):
        for number in range(100):
            nursery.start_soon(write, number % 2, number)
            await wait_all_tasks_blocked()
    assert numbers(databases[0]) == set(range(100))
    # One of the other process may wait for the lock already, alone.
    assert len(used[0]) == 1
    assert len(used[1]) <= 2


async def test_what_concerns_one_upload_does_not_wait_for_the_others(open_database: Open) -> None:
    ours, others = open_database(), open_database()
    async with busy(others.write):
        with trio.fail_after(20):
            await ours.write_apart(remember(1))
        assert numbers(ours) == {1}


async def test_an_upload_that_changes_no_sum_does_not_lock_them(open_database: Open) -> None:
    ours, others = open_database(), open_database()
    await ours.write(
        lambda connection: connection.execute(
            """INSERT INTO uploads (upload, "user", bytes) VALUES ('u1', 'anna', 5)"""
        )
    )
    async with busy(others.write):
        with trio.fail_after(20):
            await ours.write_apart(
                lambda connection: connection.execute("UPDATE uploads SET receipt = 'r'")
            )


# Connections that break.


async def test_connections_that_were_ended_are_made_again(database: Database) -> None:
    for number in range(3):
        end_connections(database)
        await database.write(remember(2 * number))
        await database.write_apart(remember(2 * number + 1))
        assert await database.read(lambda connection: connection.execute(COUNT).fetchone()) == (
            2 * number + 2,
        )
        await database.check()


async def test_a_step_whose_connection_ends_meanwhile_is_an_error_and_not_repeated(
    database: Database,
) -> None:
    calls = list[int]()

    def step(connection: Connection) -> None:
        calls.append(1)
        end_connections(database)
        remember(1)(connection)

    with pytest.raises(LedgerError, match="terminating connection"):
        await database.write(step)
    assert len(calls) == 1
    assert numbers(database) == set()
    await database.write(remember(2))


async def test_a_server_that_is_away_is_an_error_and_one_that_is_back_is_used(
    own_postgresql: Postgresql, open_database: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "RETRY_SECONDS", 0.0)
    database = open_database(Address(own_postgresql.new_database()))
    await database.write_durably(remember(1))
    own_postgresql.kill("server")
    ways = (database.write, database.write_durably, database.write_apart, database.read)
    for way in ways:
        with trio.fail_after(20), pytest.raises(LedgerError, match=r"test_\w+. at 127.0.0.1"):
            await way(transaction)
    with pytest.raises(LedgerError, match="cannot be reached"):
        await database.check()
    own_postgresql.spawn_server()
    await database.check()
    await database.write(remember(2))
    assert numbers(database) == {1, 2}


async def test_after_a_connection_that_fails_all_steps_that_wait_fail_with_it(
    own_postgresql: Postgresql, open_database: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "RETRY_SECONDS", 60.0)
    attempts = list[int]()
    connect = connections.connect

    def counted(address: Address, seconds: float) -> Connection:
        attempts.append(1)
        return connect(address, seconds)

    database = open_database(Address(own_postgresql.new_database()))
    monkeypatch.setattr(connections, "connect", counted)
    own_postgresql.kill("server")
    for number in range(5):
        with pytest.raises(LedgerError, match="cannot be reached"):
            await database.write(remember(number))
    assert len(attempts) == 1


@pytest.mark.parametrize("way", ["write", "write_apart", "read"])
async def test_a_server_that_hangs_is_noticed(
    own_postgresql: Postgresql, open_database: Open, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setattr(connections.Connection, "silence", 0.5)
    database = open_database(Address(own_postgresql.new_database()))
    own_postgresql.hang()
    try:
        with trio.fail_after(20), pytest.raises(LedgerError, match=r"has not answered for 0\.5 s"):
            await getattr(database, way)(lambda connection: connection.execute(COUNT))
    finally:
        own_postgresql.go_on()
    assert await database.write(remember(1)) == 1


async def test_a_connection_to_a_server_that_hangs_is_given_up(
    own_postgresql: Postgresql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(connections._LIMITS, "connect_timeout", 2)
    address = Address(own_postgresql.new_database())
    own_postgresql.hang()
    try:
        with pytest.raises(LedgerError, match=r"cannot be reached: .*: connection timeout expired"):
            await trio.to_thread.run_sync(Database.open, address)
    finally:
        own_postgresql.go_on()


async def test_a_lock_that_somebody_keeps_is_given_up(
    database: Database, open_database: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_SETTINGS", "SET lock_timeout = '200ms'")
    impatient = open_database()
    async with busy(database.write):
        with pytest.raises(LedgerError, match="has locked it for too long"):
            await impatient.write(remember(1))
    await impatient.write(remember(2))
    assert numbers(database) == {2}


async def test_a_process_that_is_stopped_keeps_its_locks_for_a_bounded_time(
    open_database: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        connections, "_SETTINGS", "SET idle_in_transaction_session_timeout = '200ms'"
    )
    stopped, other = open_database(), open_database()
    failed = list[str]()
    began, go = threading.Event(), threading.Event()

    def hang(connection: Connection) -> None:
        began.set()
        go.wait(20)
        remember(1)(connection)

    async def write() -> None:
        with pytest.raises(LedgerError) as raised:
            await stopped.write(hang)
        failed.append(str(raised.value))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        await trio.to_thread.run_sync(began.wait, 20)
        await other.write(remember(2))
        go.set()
    assert "idle-in-transaction timeout" in failed[0]
    assert numbers(other) == {2}


async def test_whoever_reads_may_go_away_while_the_server_hangs(database: Database) -> None:
    began, go = threading.Event(), threading.Event()

    def hang(_: Connection) -> None:
        began.set()
        go.wait(20)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(database.read, hang)
        await trio.to_thread.run_sync(began.wait, 20)
        nursery.cancel_scope.cancel()
    assert not go.is_set()
    go.set()
    await database.check()


async def test_a_closed_database_cannot_be_used(database: Database) -> None:
    database.close()
    for way in (database.write, database.write_apart, database.read):
        with pytest.raises(LedgerError, match="is closed"):
            await way(transaction)
    with pytest.raises(LedgerError, match="is closed"):
        await database.check()


async def test_nobody_waits_long_for_a_server_that_hangs_once_the_daemon_ends(
    own_postgresql: Postgresql, open_database: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HURRIED_SECONDS", 0.2)
    database = open_database(Address(own_postgresql.new_database()))
    database.hurried = lambda: True
    own_postgresql.hang()
    try:
        with pytest.raises(UnavailableError, match="has not answered for 0"):
            await database.check()
    finally:
        own_postgresql.go_on()
