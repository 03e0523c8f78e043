"""Group commit: steps that wait at the same time share a transaction."""

import os
import sqlite3
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from helpers.ledgers import allow
from trio.testing import wait_all_tasks_blocked

from galileod.ledger.base import LedgerError
from galileod.ledger.grouping import MOST_STEPS
from galileod.ledger.sqlite import SqliteLedger
from galileod.ledger.sqlite.database import Database
from galileod.policy.quota import Holding

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "ledger.sqlite3")


@pytest.fixture
def ledger(path: str) -> Iterator[SqliteLedger]:
    ledger = SqliteLedger.open(path)
    yield ledger
    ledger.close()


@pytest.fixture
def database(ledger: SqliteLedger) -> Database:
    return ledger.database


@pytest.fixture
def statements(database: Database) -> list[str]:
    """The statements that were executed, without those of triggers."""
    statements: list[str] = []
    database.connection.set_trace_callback(
        lambda one: None if one.startswith("--") else statements.append(one)
    )
    return statements


def remember(number: int) -> Callable[[sqlite3.Connection], int]:
    def step(connection: sqlite3.Connection) -> int:
        connection.execute(
            "INSERT INTO files (name, user, bytes) VALUES (?, 'anna', 1)", (str(number),)
        )
        return number

    return step


def numbers(database: Database) -> set[int]:
    return {int(name) for (name,) in database.connection.execute("SELECT name FROM files")}


@asynccontextmanager
async def busy(run: Callable[..., Awaitable[None]]) -> AsyncIterator[None]:
    """A step that `run` runs goes on during the block, and ends with it."""
    began, go = threading.Event(), threading.Event()

    def hang(_: sqlite3.Connection) -> None:
        began.set()
        go.wait(20)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, hang)
        await trio.to_thread.run_sync(began.wait, 20)
        try:
            yield
            await wait_all_tasks_blocked()
        finally:
            go.set()


async def test_steps_that_wait_for_a_transaction_share_the_next_one(
    database: Database, statements: list[str]
) -> None:
    results = list[int]()

    async def write(number: int) -> None:
        results.append(await database.write(remember(number)))

    async with trio.open_nursery() as nursery, busy(database.write):
        for number in range(10):
            nursery.start_soon(write, number)
            await wait_all_tasks_blocked()
    assert sorted(results) == list(range(10))
    assert numbers(database) == set(range(10))
    assert statements.count("COMMIT") == 2


async def test_they_run_in_the_order_in_which_they_came(database: Database) -> None:
    order = list[int]()
    async with trio.open_nursery() as nursery, busy(database.write):
        for number in range(10):
            nursery.start_soon(database.write, lambda _, number=number: order.append(number))
            await wait_all_tasks_blocked()
    assert order == list(range(10))


async def test_a_transaction_has_a_limited_number_of_steps(
    database: Database, statements: list[str]
) -> None:
    many = 2 * MOST_STEPS + 1
    async with trio.open_nursery() as nursery, busy(database.write):
        for number in range(many):
            nursery.start_soon(database.write, remember(number))
    assert numbers(database) == set(range(many))
    assert statements.count("COMMIT") == 1 + 3


async def test_a_step_that_raises_is_rolled_back_alone(ledger: SqliteLedger) -> None:
    def refuse(_everybody: Holding, _mine: Holding) -> None:
        raise KeyError("odd")

    refused = list[BaseException]()

    async def reserve_too_much() -> None:
        with pytest.raises(KeyError, match="odd") as raised:
            await ledger.reserve("u2", "bert", 100, refuse)
        refused.append(raised.value)

    async def commit_unknown() -> None:
        with pytest.raises(LedgerError, match="not in the ledger") as raised:
            await ledger.commit("u0", "a.bin")
        refused.append(raised.value)

    async def enter_twice() -> None:
        with pytest.raises(LedgerError, match="UNIQUE constraint failed") as raised:
            await ledger.reserve("u1", "carla", 1, allow)
        refused.append(raised.value)

    async with trio.open_nursery() as nursery, busy(ledger.database.write):
        nursery.start_soon(ledger.reserve, "u1", "anna", 1, allow)
        await wait_all_tasks_blocked()
        for attempt in (reserve_too_much, commit_unknown, enter_twice):
            nursery.start_soon(attempt)
        await wait_all_tasks_blocked()
        nursery.start_soon(ledger.reserve, "u3", "dora", 1, allow)
    assert len(refused) == 3
    assert list(ledger.holdings()) == ["anna", "dora"]


async def test_a_transaction_is_synced_if_one_of_its_steps_is_to_be_durable(
    database: Database, statements: list[str]
) -> None:
    async with trio.open_nursery() as nursery, busy(database.write):
        nursery.start_soon(database.write, remember(1))
        nursery.start_soon(database.write_durably, remember(2))
        nursery.start_soon(database.write, remember(3))
    full = statements.index("PRAGMA synchronous = FULL")
    assert [one for one in statements[full + 1 :] if not one.startswith("INSERT")] == [
        "BEGIN IMMEDIATE",
        *["SAVEPOINT step", "RELEASE step"] * 3,
        "COMMIT",
        "PRAGMA synchronous = 1",
    ]


@pytest.mark.parametrize("count", [1, 3])
async def test_if_the_commit_fails_all_steps_have_failed(database: Database, count: int) -> None:
    def deny(action: int, argument: str | None, *_: object) -> int:
        commits = action == sqlite3.SQLITE_TRANSACTION and argument == "COMMIT"
        return sqlite3.SQLITE_DENY if commits else sqlite3.SQLITE_OK

    failures = list[LedgerError]()

    async def write(number: int) -> None:
        with pytest.raises(LedgerError, match="not authorized") as raised:
            await database.write(remember(number))
        failures.append(raised.value)

    async with trio.open_nursery() as nursery, busy(database.read):
        for number in range(count):
            nursery.start_soon(write, number)
        await wait_all_tasks_blocked()
        database.connection.set_authorizer(deny)
    database.connection.set_authorizer(None)
    assert len({id(failure) for failure in failures}) == count
    assert numbers(database) == set()
    await database.write(remember(7))
    assert numbers(database) == {7}


async def test_if_sqlite_itself_rolls_back_all_steps_have_failed(database: Database) -> None:
    database.connection.execute(
        "CREATE TRIGGER bad BEFORE INSERT ON files WHEN new.name = '2'"
        " BEGIN SELECT RAISE(ROLLBACK, 'as on a full disk'); END"
    )
    failed = list[int]()

    async def write(number: int) -> None:
        with pytest.raises(LedgerError, match="as on a full disk"):
            await database.write(remember(number))
        failed.append(number)

    async with trio.open_nursery() as nursery, busy(database.write):
        for number in range(1, 4):
            nursery.start_soon(write, number)
            await wait_all_tasks_blocked()
    assert sorted(failed) == [1, 2, 3]
    assert numbers(database) == set()


@pytest.mark.parametrize("cancelled", [0, 1, 2])
async def test_a_step_that_waits_can_be_cancelled_and_the_others_run(
    database: Database, cancelled: int
) -> None:
    async with trio.open_nursery() as nursery, busy(database.write):
        scopes = [trio.CancelScope() for _ in range(3)]

        async def write(number: int) -> None:
            with scopes[number]:
                await database.write(remember(number))

        for number in range(3):
            nursery.start_soon(write, number)
            await wait_all_tasks_blocked()
        scopes[cancelled].cancel()
        await wait_all_tasks_blocked()
        # Also if it was the one that would have run all of them.
        nursery.start_soon(database.write, remember(3))
    assert numbers(database) == {0, 1, 2, 3} - {cancelled}


async def test_all_that_wait_may_be_cancelled_at_once(database: Database) -> None:
    async with busy(database.write), trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(database.write, remember(number))
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert numbers(database) == set()
    await database.write(remember(7))
    assert numbers(database) == {7}


@pytest.mark.parametrize("cancelled", [0, 1])
async def test_a_step_that_has_begun_is_waited_for(database: Database, cancelled: int) -> None:
    began, go = threading.Event(), threading.Event()
    ended = list[int]()

    def hang(connection: sqlite3.Connection) -> None:
        began.set()
        go.wait(20)
        remember(0)(connection)

    scopes = [trio.CancelScope() for _ in range(2)]
    steps = [hang, remember(1)]

    async def write(number: int) -> None:
        with scopes[number]:
            await database.write(steps[number])
            ended.append(number)

    async with trio.open_nursery() as nursery:
        async with busy(database.write):
            for number in range(2):
                nursery.start_soon(write, number)
                await wait_all_tasks_blocked()
        await trio.to_thread.run_sync(began.wait, 20)
        scopes[cancelled].cancel()
        await wait_all_tasks_blocked()
        assert ended == []
        go.set()
    assert sorted(ended) == [0, 1]
    assert numbers(database) == {0, 1}


async def test_a_file_that_cannot_be_used_is_an_error_for_each_step(
    ledger: SqliteLedger, path: str
) -> None:
    failed = list[int]()

    async def write(number: int) -> None:
        with pytest.raises(LedgerError):
            await ledger.database.write(remember(number))
        failed.append(number)

    async with trio.open_nursery() as nursery, busy(ledger.database.write):
        for number in range(3):
            nursery.start_soon(write, number)
        await wait_all_tasks_blocked()
        os.rename(path, f"{path}.mine")
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT))
    assert sorted(failed) == [0, 1, 2]
