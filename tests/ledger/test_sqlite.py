"""The ledger: who holds what."""

import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Collection
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from galileod.ledger import outbox as outbox_room
from galileod.ledger.outbox import Outbox
from galileod.ledger.sqlite import UNKNOWN_USER, AlreadyUsedError, Ledger, LedgerError, Once
from galileod.policy.quota import Holding, check_quota
from galileod.policy.settings import Quota
from galileod.protocol.errors import Fault
from galileod.units import Size


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "ledger.sqlite3")


def allow(_everybody: Holding, _mine: Holding) -> None:
    """No limits."""


async def test_an_upload_is_reserved_then_becomes_a_file(path: str) -> None:
    ledger = Ledger.open(path)
    await ledger.reserve("u1", "anna", 100, allow)
    assert ledger.holdings() == {"anna": Holding(reserved=100, uploads=1)}
    await ledger.commit("u1", "a.txt")
    assert ledger.holdings() == {"anna": Holding(bytes=100, files=1)}
    ledger.close()


async def test_an_upload_that_ends_otherwise_gives_back_what_it_held(path: str) -> None:
    ledger = Ledger.open(path)
    await ledger.reserve("u1", "anna", 100, allow)
    await ledger.release("u1")
    assert ledger.holdings() == {}
    ledger.close()


async def test_a_release_after_the_commit_changes_nothing(path: str) -> None:
    ledger = Ledger.open(path)
    await ledger.reserve("u1", "anna", 100, allow)
    await ledger.commit("u1", "a.txt")
    await ledger.release("u1")
    assert ledger.holdings() == {"anna": Holding(bytes=100, files=1)}
    ledger.close()


async def test_a_file_that_takes_the_place_of_another_frees_what_that_one_held(path: str) -> None:
    ledger = Ledger.open(path)
    for upload, user, size in (("u1", "anna", 100), ("u2", "bert", 30)):
        await ledger.reserve(upload, user, size, allow)
        await ledger.commit(upload, "a.txt")
    assert ledger.holdings() == {"bert": Holding(bytes=30, files=1)}
    ledger.close()


async def test_a_refusal_enters_nothing_and_passes_through(path: str) -> None:
    ledger = Ledger.open(path)
    with pytest.raises(Fault):
        await ledger.reserve("u1", "anna", 2, partial(check_quota, Quota(total_files=0), 2))
    assert ledger.holdings() == {}
    await ledger.reserve("u1", "anna", 2, allow)
    ledger.close()


async def test_a_ticket_is_used_up_by_an_upload_that_is_entered(path: str) -> None:
    ledger = Ledger.open(path)
    once = Once("1", time.time() + 60)
    full = partial(check_quota, Quota(total_files=0), 1)
    with pytest.raises(Fault):
        await ledger.reserve("u1", "anna", 1, full, once)
    await ledger.reserve("u1", "anna", 1, allow, once)
    ledger.close()
    ledger = Ledger.open(path)
    with pytest.raises(AlreadyUsedError):
        await ledger.reserve("u2", "anna", 1, allow, once)
    await ledger.reserve("u3", "anna", 1, allow, Once("2", time.time() + 60))
    assert ledger.holdings() == {"anna": Holding(reserved=2, uploads=2)}
    ledger.close()


async def test_a_ticket_that_expired_since_it_was_checked_is_refused_not_forgotten(
    path: str,
) -> None:
    ledger = Ledger.open(path)
    for upload in ("u1", "u2"):  # it must not be taken for a new one after its entry went
        with pytest.raises(AlreadyUsedError):
            await ledger.reserve(upload, "anna", 1, allow, Once("1", time.time() - 1))
    ledger.close()


async def test_uploads_that_race_never_pass_the_limit_nor_stop_short_of_it(path: str) -> None:
    ledgers = [Ledger.open(path) for _ in range(4)]
    quota, outcomes = Quota(total_bytes=Size(1000)), []

    async def race(number: int) -> None:
        try:
            ledger = ledgers[number % 4]
            await ledger.reserve(f"u{number}", "anna", 100, partial(check_quota, quota, 100))
        except Fault as fault:
            outcomes.append(str(fault.code))
        else:
            outcomes.append("reserved")

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            for number in range(40):
                nursery.start_soon(race, number)
    assert outcomes.count("reserved") == 10
    assert outcomes.count("quota_exceeded") == 30
    for ledger in ledgers:
        ledger.close()


FILES = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 1000))


@given(entered=FILES, on_disk=FILES, cut_off=st.integers(0, 3))
def test_at_the_start_the_ledger_says_what_the_disk_says(
    entered: dict[str, int], on_disk: dict[str, int], cut_off: int
) -> None:
    ledger = Ledger.open(":memory:")

    async def fill() -> None:
        for number, (name, size) in enumerate(entered.items()):
            await ledger.reserve(f"u{number}", "anna", size, allow)
            await ledger.commit(f"u{number}", name)
        for number in range(cut_off):
            await ledger.reserve(f"x{number}", "anna", 5, allow)

    trio.run(fill)
    ledger.reconcile(on_disk)
    annas = {name: size for name, size in on_disk.items() if name in entered}
    others = {name: size for name, size in on_disk.items() if name not in entered}
    expected = {
        user: Holding(bytes=sum(files.values()), files=len(files))
        for user, files in (("anna", annas), (UNKNOWN_USER, others))
        if files
    }
    assert ledger.holdings() == expected
    ledger.close()


def test_a_ledger_from_a_newer_version_is_refused(path: str) -> None:
    Ledger.open(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(LedgerError, match="newer galileod"):
        Ledger.open(path)


def test_a_file_that_is_no_ledger_is_refused(path: str) -> None:
    Path(path).write_bytes(b"this is no database, and quite long enough" * 100)
    with pytest.raises(LedgerError):
        Ledger.open(path)


def test_a_process_that_is_killed_leaves_a_sound_ledger(path: str) -> None:
    program = """
import os, signal, sys, trio
from galileod.ledger.sqlite import Ledger
async def main():
    ledger = Ledger.open(sys.argv[1])
    for number in range(1000):
        await ledger.reserve(f"u{number}", "anna", 10, lambda all, mine: None)
        await ledger.commit(f"u{number}", f"{number}")
        if number == 50:
            os.kill(os.getpid(), signal.SIGKILL)
trio.run(main)
"""
    ended = subprocess.run([sys.executable, "-c", program, path], check=False, timeout=60)
    assert ended.returncode == -9
    ledger = Ledger.open(path)
    assert ledger.holdings() == {"anna": Holding(bytes=510, files=51)}
    ledger.close()


async def test_the_start_makes_sums_anew_that_went_wrong(path: str) -> None:
    ledger = Ledger.open(path)
    await ledger.reserve("u1", "anna", 100, allow)
    await ledger.commit("u1", "a.txt")
    ledger._connection.execute("UPDATE holdings SET reserved = -5, bytes = 1.5")
    ledger.reconcile({"a.txt": 100})
    assert ledger.holdings() == {"anna": Holding(bytes=100, files=1)}
    ledger.close()


async def test_a_transaction_that_sqlite_itself_rolls_back_is_a_ledger_error(path: str) -> None:
    ledger = Ledger.open(path)
    await ledger.reserve("u1", "anna", 100, allow)
    ledger._connection.execute(
        "CREATE TRIGGER bad BEFORE INSERT ON files BEGIN SELECT RAISE(ROLLBACK, 'full'); END"
    )
    with pytest.raises(LedgerError, match="full"):
        await ledger.commit("u1", "a.txt")
    assert ledger.holdings() == {"anna": Holding(reserved=100, uploads=1)}
    ledger.close()


async def test_an_upload_that_was_never_reserved_cannot_become_a_file(path: str) -> None:
    ledger = Ledger.open(path)
    with pytest.raises(LedgerError, match="not in the ledger"):
        await ledger.commit("u1", "a.txt")
    ledger.close()


async def test_the_total_is_that_of_all_users(path: str) -> None:
    ledger = Ledger.open(path)
    assert await ledger.total() == Holding()
    for upload, user in (("u1", "anna"), ("u2", "bert")):
        await ledger.reserve(upload, user, 100, allow)
    await ledger.commit("u1", "a.txt")
    assert await ledger.total() == Holding(bytes=100, files=1, reserved=100, uploads=1)
    ledger.close()
    with pytest.raises(LedgerError, match="the ledger cannot be used"):
        await ledger.total()


async def test_whoever_asks_for_the_total_may_go_away_while_the_disk_hangs(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger.open(path)
    began, goes_on = threading.Event(), threading.Event()

    def hang() -> Holding:
        began.set()
        goes_on.wait(20)
        return Holding()

    monkeypatch.setattr(ledger, "_total", hang)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ledger.total)
        await trio.to_thread.run_sync(began.wait, 20)
        nursery.cancel_scope.cancel()
    assert not goes_on.is_set()
    goes_on.set()
    ledger.close()


RECEIPT = '{"id": "1"}'


async def owed(ledger: Ledger) -> list[tuple[str, str, int]]:
    return [(one.name, one.receipt, one.attempts) for one in await Outbox(ledger).first(100)]


async def test_what_was_promised_is_owed_once_the_file_is_entered_and_not_before(path: str) -> None:
    ledger = Ledger.open(path)
    for upload in ("u1", "u2"):
        await ledger.reserve(upload, "anna", 100, allow)
    await ledger.promise("u1", 7, RECEIPT)
    assert await owed(ledger) == []
    await ledger.commit("u1", "a.txt")
    await ledger.commit("u2", "b.txt")
    assert await owed(ledger) == [("a.txt", RECEIPT, 0)]
    ledger.close()


async def test_a_promise_ends_with_an_upload_that_ends_otherwise(path: str) -> None:
    ledger = Ledger.open(path)
    await ledger.reserve("u1", "anna", 100, allow)
    await ledger.promise("u1", 7, RECEIPT)
    await ledger.release("u1")
    ledger.reconcile({"a.txt": 100}, lambda _: {7: "a.txt"})
    assert await owed(ledger) == []
    ledger.close()


@pytest.mark.parametrize(
    ("on_disk", "found", "entered"),
    [
        ({"a.txt": 100}, {7: "a.txt"}, {"anna": Holding(bytes=100, files=1)}),
        ({}, {}, {}),
        # A number that came to another file since.
        ({"b.txt": 3}, {7: "b.txt"}, {UNKNOWN_USER: Holding(bytes=3, files=1)}),
    ],
)
async def test_a_crash_between_publication_and_entry_loses_neither_user_nor_receipt(
    path: str, on_disk: dict[str, int], found: dict[int, str], entered: dict[str, Holding]
) -> None:
    ledger = Ledger.open(path)
    await ledger.reserve("u1", "anna", 100, allow)
    await ledger.promise("u1", 7, RECEIPT)
    ledger.close()
    ledger = Ledger.open(path)
    asked: list[int] = []

    def find(inodes: Collection[int]) -> dict[int, str]:
        asked.extend(inodes)
        return found

    ledger.reconcile(on_disk, find)
    assert asked == [7]
    assert ledger.holdings() == entered
    assert await owed(ledger) == ([("a.txt", RECEIPT, 0)] if "anna" in entered else [])
    ledger.close()


async def test_what_is_owed_is_counted_up_to_a_limit(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_room, "MOST_COUNTED", 2)
    ledger = Ledger.open(path)
    counts = []
    for name in "abc":
        await ledger.reserve(name, "anna", 1, allow)
        await ledger.promise(name, 7, name)
        await ledger.commit(name, name)
        counts.append(await Outbox(ledger).count())
    assert counts == [1, 2, 2]
    ledger.close()


async def test_the_start_makes_due_what_was_put_off_and_what_was_given_up(path: str) -> None:
    ledger = Ledger.open(path)
    outbox = Outbox(ledger)
    for name in "abc":
        await ledger.reserve(name, "anna", 1, allow)
        await ledger.promise(name, 7, name)
        await ledger.commit(name, name)
    first, second, _ = await outbox.first(10)
    await outbox.put_off(first.number, first.due + 1e9)
    await outbox.put_off(second.number, None)
    assert await owed(ledger) == [("c", "c", 0), ("a", "a", 1)]
    assert await outbox.count() == 3
    ledger.reconcile({})
    assert await owed(ledger) == [("a", "a", 0), ("b", "b", 0), ("c", "c", 0)]
    await outbox.delivered(first.number)
    assert await owed(ledger) == [("b", "b", 0), ("c", "c", 0)]
    ledger.close()


async def test_a_promise_is_synced_and_what_follows_need_not_be(path: str) -> None:
    ledger = Ledger.open(path)
    statements: list[str] = []
    ledger._connection.set_trace_callback(statements.append)
    await ledger.reserve("u1", "anna", 100, allow)
    await ledger.promise("u1", 7, RECEIPT)
    await ledger.commit("u1", "a.txt")
    levels = [one for one in statements if "synchronous" in one]
    update = next(at for at, one in enumerate(statements) if one.startswith("UPDATE uploads"))
    full, normal = (statements.index(one) for one in levels)
    assert levels == ["PRAGMA synchronous = FULL", "PRAGMA synchronous = NORMAL"]
    assert full < update < statements.index("COMMIT", update) < normal
    ledger.close()


def test_whoever_only_looks_leaves_a_ledger_of_the_first_schema_as_it_is(path: str) -> None:
    first = Path(__file__).with_name("schema_1.sql").read_text()
    with closing(sqlite3.connect(path)) as older:
        older.execute("PRAGMA journal_mode = WAL")
        older.executescript(first)
        before = list(older.iterdump())
        ledger = Ledger.open_to_look(path)
        assert ledger.holdings() == {
            "anna": Holding(bytes=100, files=1),
            "bert": Holding(reserved=30, uploads=1),
        }
        with pytest.raises(LedgerError, match="readonly"), ledger.transaction() as connection:
            connection.execute("DELETE FROM files")
        ledger.close()
        assert list(older.iterdump()) == before
        assert older.execute("PRAGMA user_version").fetchone() == (1,)
    assert os.listdir(Path(path).parent) == [Path(path).name]


def test_a_look_leaves_nothing_behind_and_makes_no_ledger(path: str) -> None:
    with pytest.raises(LedgerError, match="unable to open"):
        Ledger.open_to_look(path)
    Ledger.open(path).close()
    ledger = Ledger.open_to_look(path)
    assert ledger.holdings() == {}
    ledger.close()
    assert os.listdir(Path(path).parent) == [Path(path).name]


def test_a_look_at_a_ledger_of_a_newer_galileod_says_so(path: str) -> None:
    with closing(sqlite3.connect(path)) as newer:
        newer.execute("PRAGMA user_version = 99")
    with pytest.raises(LedgerError, match="schema 99, from a newer galileod"):
        Ledger.open_to_look(path)


async def test_a_ledger_of_the_first_schema_is_brought_up_to_date(path: str) -> None:
    first = Path(__file__).with_name("schema_1.sql").read_text()
    connection = sqlite3.connect(path)
    connection.executescript(first)
    connection.close()
    ledger = Ledger.open(path)
    assert ledger.holdings() == {
        "anna": Holding(bytes=100, files=1),
        "bert": Holding(reserved=30, uploads=1),
    }
    await ledger.promise("u2", 7, RECEIPT)
    await ledger.commit("u2", "b.txt")
    assert await owed(ledger) == [("b.txt", RECEIPT, 0)]
    assert ledger.holdings() == {
        "anna": Holding(bytes=100, files=1),
        "bert": Holding(bytes=30, files=1),
    }
    ledger.close()


async def test_the_file_is_closed_behind_a_step_that_nobody_waits_for(tmp_path: Path) -> None:
    ledger = Ledger.open(str(tmp_path / "ledger.sqlite3"))
    began, go, seen = threading.Event(), threading.Event(), list[object]()

    def step() -> None:
        began.set()
        go.wait(20)
        with ledger.transaction() as connection:
            seen.extend(connection.execute("SELECT count(*) FROM files").fetchone())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(ledger.run, step, abandon_on_cancel=True))
        await trio.to_thread.run_sync(began.wait, 20)
        nursery.cancel_scope.cancel()
    closer = threading.Thread(target=ledger.close)
    closer.start()
    go.set()
    closer.join(20)
    assert seen == [0]
    with pytest.raises(LedgerError):
        ledger.holdings()
