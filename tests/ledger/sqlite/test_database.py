"""The SQLite file: transactions, threads, crashes, and its opening and closing."""

import os
import sqlite3
import threading
from pathlib import Path

import pytest
import trio
from helpers.forks import run_code

from galileod.ledger.base import LedgerError
from galileod.ledger.sqlite import SqliteLedger, connection, outbox
from galileod.policy.quota import Holding


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "ledger.sqlite3")


def allow(_everybody: Holding, _mine: Holding) -> None:
    """No limits."""


def test_a_process_that_is_killed_leaves_a_sound_ledger(path: str) -> None:
    program = """
import os, signal, sys, trio
from galileod.ledger.sqlite import SqliteLedger
async def main():
    ledger = SqliteLedger.open(sys.argv[1])
    for number in range(1000):
        await ledger.reserve(f"u{number}", "anna", 10, lambda all, mine: None)
        await ledger.commit(f"u{number}", f"{number}")
        if number == 50:
            os.kill(os.getpid(), signal.SIGKILL)
trio.run(main)
"""
    assert run_code(program, path) == -9
    ledger = SqliteLedger.open(path)
    assert ledger.holdings() == {"anna": Holding(bytes=510, files=51)}
    ledger.close()


async def test_the_start_makes_sums_anew_that_went_wrong(path: str) -> None:
    ledger = SqliteLedger.open(path)
    await ledger.reserve("u1", "anna", 100, allow)
    await ledger.commit("u1", "a.txt")
    ledger.database.connection.execute("UPDATE holdings SET reserved = -5, bytes = 1.5")
    ledger.database.connection.execute("UPDATE totals SET reserved = -5, bytes = 1.5")
    ledger.reconcile({"a.txt": 100}, {})
    assert ledger.holdings() == {"anna": Holding(bytes=100, files=1)}
    assert await ledger.total() == Holding(bytes=100, files=1)
    ledger.close()


async def test_a_transaction_that_sqlite_itself_rolls_back_is_a_ledger_error(path: str) -> None:
    ledger = SqliteLedger.open(path)
    await ledger.reserve("u1", "anna", 100, allow)
    ledger.database.connection.execute(
        "CREATE TRIGGER bad BEFORE INSERT ON files BEGIN SELECT RAISE(ROLLBACK, 'full'); END"
    )
    with pytest.raises(LedgerError, match="full"):
        await ledger.commit("u1", "a.txt")
    assert ledger.holdings() == {"anna": Holding(reserved=100, uploads=1)}
    ledger.close()


async def test_what_sqlite_raises_is_a_ledger_error(path: str) -> None:
    ledger = SqliteLedger.open(path)
    ledger.close()
    with pytest.raises(LedgerError, match="the ledger cannot be used"):
        await ledger.total()


async def test_whoever_asks_for_the_total_may_go_away_while_the_disk_hangs(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = SqliteLedger.open(path)
    began, goes_on = threading.Event(), threading.Event()

    def hang(_: sqlite3.Connection) -> Holding:
        began.set()
        goes_on.wait(20)
        return Holding()

    monkeypatch.setattr("galileod.ledger.sqlite.quota.total", hang)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ledger.total)
        await trio.to_thread.run_sync(began.wait, 20)
        nursery.cancel_scope.cancel()
    assert not goes_on.is_set()
    goes_on.set()
    ledger.close()


async def test_the_file_is_closed_behind_a_step_that_nobody_waits_for(path: str) -> None:
    ledger = SqliteLedger.open(path)
    began, go, seen = threading.Event(), threading.Event(), list[object]()

    def step(connection: sqlite3.Connection) -> None:
        began.set()
        go.wait(20)
        seen.extend(connection.execute("SELECT count(*) FROM files").fetchone())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ledger.database.read, step)
        await trio.to_thread.run_sync(began.wait, 20)
        nursery.cancel_scope.cancel()
    closer = threading.Thread(target=ledger.close)
    closer.start()
    go.set()
    closer.join(20)
    assert seen == [0]
    with pytest.raises(LedgerError):
        ledger.holdings()


async def test_a_promise_is_synced_and_what_follows_need_not_be(path: str) -> None:
    ledger = SqliteLedger.open(path)
    statements: list[str] = []
    ledger.database.connection.set_trace_callback(statements.append)
    await ledger.reserve("u1", "anna", 100, allow)
    await ledger.promise("u1", "7", '{"id": "1"}')
    await ledger.commit("u1", "a.txt")
    levels = [one for one in statements if "synchronous =" in one]
    update = next(at for at, one in enumerate(statements) if one.startswith("UPDATE uploads"))
    full, normal = (statements.index(one) for one in levels)
    assert levels == ["PRAGMA synchronous = FULL", "PRAGMA synchronous = 1"]
    assert full < update < statements.index("COMMIT", update) < normal
    ledger.close()


async def test_a_promise_that_fails_is_followed_by_what_need_not_be_synced(path: str) -> None:
    ledger = SqliteLedger.open(path)
    connection = ledger.database.connection
    connection.execute(
        "CREATE TRIGGER bad BEFORE UPDATE ON uploads BEGIN SELECT RAISE(ABORT, 'full'); END"
    )
    await ledger.reserve("u1", "anna", 100, allow)
    with pytest.raises(LedgerError, match="full"):
        await ledger.promise("u1", "7", "{}")
    assert connection.execute("PRAGMA synchronous").fetchone() == (1,)
    ledger.close()


async def test_what_is_owed_is_counted_up_to_a_limit(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "MOST_COUNTED", 2)
    ledger = SqliteLedger.open(path)
    counts = []
    for name in "abc":
        await ledger.reserve(name, "anna", 1, allow)
        await ledger.promise(name, "7", name)
        await ledger.commit(name, name)
        counts.append(await ledger.outbox.count())
    assert counts == [1, 2, 2]
    ledger.close()


class StopError(Exception):
    """Ends a step."""


@pytest.mark.parametrize("steps", range(5))
async def test_a_long_work_can_be_ended_and_has_changed_nothing(
    path: str, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    monkeypatch.setattr(connection, "INSTRUCTIONS", 1000)
    ledger = SqliteLedger.open(path)
    await ledger.reserve("u1", "anna", 100, allow)
    called = 0

    def step() -> None:
        nonlocal called
        called += 1
        if called > steps:
            raise StopError

    on_disk = {str(number): 1 for number in range(2000)}
    with pytest.raises(StopError):
        ledger.reconcile(on_disk, {}, step)
    assert ledger.holdings() == {"anna": Holding(reserved=100, uploads=1)}
    ledger.reconcile(on_disk, {})
    ledger.close()
    called = 0
    with pytest.raises(StopError):
        SqliteLedger.open(path, step=step)
    ledger = SqliteLedger.open(path)
    assert ledger.holdings() == {"": Holding(bytes=2000, files=2000)}
    ledger.close()


def test_an_opening_that_fails_at_its_end_leaves_nothing_open(tmp_path: Path) -> None:
    folder, aside = tmp_path / "folder", tmp_path / "aside"
    folder.mkdir()
    ledger = SqliteLedger.open(str(folder / "ledger"))
    ledger.reconcile({str(number): 1 for number in range(2000)}, {})
    ledger.close()

    def replace_folder() -> None:
        if not aside.exists():
            folder.rename(aside)
            folder.touch()

    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(LedgerError, match="Not a directory"):
        SqliteLedger.open(str(folder / "ledger"), step=replace_folder)
    assert len(os.listdir("/proc/self/fd")) == before
