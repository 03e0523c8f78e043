"""Kept and stored uploads in an SQLite file: many of them, and processes that are killed."""

import subprocess
import sys
from itertools import groupby, pairwise
from pathlib import Path
from typing import Final

import pytest
from helpers.clocks import FakeClock
from helpers.ledgers import allow, begin, keep, names, resumable

from galileod.ledger.base import LedgerError, Recovery, StoredUpload
from galileod.ledger.sqlite import SqliteLedger, stored
from galileod.policy.quota import Holding

MANY: Final = 10_000

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "ledger.sqlite3")


def count(ledger: SqliteLedger) -> int:
    """The number of stored uploads that are remembered."""
    connection = ledger.database.connection
    (number,) = connection.execute("SELECT count(*) FROM stored_uploads").fetchone()
    return int(number)


async def store(ledger: SqliteLedger, *uploads: str, seconds: float = 60) -> None:
    for upload in uploads:
        await begin(ledger, upload)
        await ledger.commit(upload, upload, remember=seconds)


# Bounds.


async def test_the_uploads_stored_last_are_remembered_up_to_a_number(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored, "MOST_REMEMBERED", 3)
    ledger = SqliteLedger.open(path)
    await store(ledger, "u1", "u2", "u3", "u4", "u5")
    assert [await ledger.find(f"key of u{number}") for number in (1, 2)] == [None, None]
    assert [await ledger.find(f"key of u{number}") for number in (3, 4, 5)] == [
        StoredUpload(f"metadata of key of u{number}", f"u{number}") for number in (3, 4, 5)
    ]
    assert count(ledger) == 3
    ledger.close()


async def test_what_is_forgotten_at_once_has_a_bound_and_begins_with_the_oldest(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored, "MOST_FORGOTTEN", 2)
    clock = FakeClock()
    ledger = SqliteLedger.open(path, clock)
    await store(ledger, "u1", "u2", "u3", seconds=60)
    await store(ledger, "u4", seconds=10)
    await store(ledger, "u5", seconds=61)
    clock.now += 60
    counts = []
    for _ in range(3):
        await ledger.expire(0)
        counts.append(count(ledger))
    assert counts == [3, 1, 1]
    assert await ledger.find("key of u5") is not None
    ledger.close()


# Durability.


async def test_what_is_promised_of_kept_data_is_synced_and_what_follows_need_not_be(
    path: str,
) -> None:
    ledger = SqliteLedger.open(path)
    statements: list[str] = []

    def synced() -> int:
        """Transactions that were synced since the last call."""
        levels = [one for one in statements if one == "COMMIT" or "synchronous =" in one]
        statements.clear()
        return sum(pair == ("PRAGMA synchronous = FULL", "COMMIT") for pair in pairwise(levels))

    ledger.database.connection.set_trace_callback(statements.append)
    await begin(ledger, "u1")
    assert synced() == 0
    await ledger.checkpoint("u1", 10)
    assert synced() == 1
    await ledger.keep("u1", 20, 20, 60, 16)
    assert synced() == 1
    await ledger.resume("u1", allow)
    await ledger.commit("u1", "a.txt", remember=60)
    await ledger.expire(10)
    await ledger.give_way(None, authenticated=True)
    await ledger.release("u1")
    assert synced() == 0
    ledger.close()


async def test_an_upload_without_a_key_writes_nothing_more_than_before(path: str) -> None:
    ledger = SqliteLedger.open(path)
    statements: list[str] = []
    ledger.database.connection.set_trace_callback(statements.append)
    await ledger.reserve("u1", "anna", 1, allow)
    await ledger.promise("u1", "7", "{}")
    await ledger.commit("u1", "a.txt", remember=60)
    writes = [one.split()[:3] for one in statements if one.startswith(("INS", "UPD", "DEL"))]
    # A statement is told again for its trigger.
    assert [write for write, _ in groupby(writes)] == [
        ["INSERT", "INTO", "uploads"], ["UPDATE", "uploads", "SET"],
        ["INSERT", "OR", "REPLACE"], ["DELETE", "FROM", "uploads"],
        # Of a store on a disk, there is none.
        ["DELETE", "FROM", "objects"], ["INSERT", "INTO", "outbox"],
    ]  # fmt: skip
    ledger.close()


async def test_no_query_reads_all_rows_while_uploads_run(path: str) -> None:
    ledger = SqliteLedger.open(path)
    await keep(ledger, "u1")
    connection, statements = ledger.database.connection, list[str]()
    connection.set_trace_callback(statements.append)
    await ledger.resume("u1", allow)
    await ledger.find("key of u1")
    await ledger.keep("u1", 1, 1, 60, 0)
    await ledger.expire(1)
    await ledger.give_way("anna", authenticated=True)
    await ledger.give_way(None, authenticated=True)
    await ledger.kept_bytes(authenticated=False)
    await ledger.kept_from("", 1)
    await store(ledger, "u2")
    connection.set_trace_callback(None)
    asked = [one for one in statements if one.startswith(("SELECT", "UPDATE", "DELETE"))]
    plans = [
        line
        for one in asked
        for *_, line in connection.execute(f"EXPLAIN QUERY PLAN {one}")
        if "uploads" in line
    ]
    assert len(plans) > 10
    assert [line for line in plans if " USING " not in line] == []
    ledger.close()


# The machine.


async def test_by_default_it_is_the_machine_that_says_whether_it_has_restarted(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for boot, certain in (("boot-1", None), ("boot-2", 0)):
        monkeypatch.setattr("galileod.ledger.sqlite.ledger.read_boot_id", lambda boot=boot: boot)
        ledger = SqliteLedger.open(path)
        if boot == "boot-1":
            await begin(ledger, "u1")
        assert ledger.interrupted() == {"u1": certain}
        ledger.close()


# Secrets.


async def test_an_error_does_not_name_the_key(path: str) -> None:
    ledger = SqliteLedger.open(path)
    await ledger.reserve("u1", "anna", 1, allow, resumable=resumable("marked"))
    await ledger.keep("u1", 1, 1, 60, 9)
    with pytest.raises(LedgerError) as raised:
        await ledger.reserve("u2", "anna", 1, allow, resumable=resumable("marked"))
    assert "marked" not in str(raised.value)
    ledger.close()


# Many.


async def test_a_start_with_many_kept_uploads_keeps_each(path: str) -> None:
    clock = FakeClock()
    ledger = SqliteLedger.open(path, clock, boot="boot-1")
    for number in range(100):  # of as many users
        await keep(ledger, f"{number:05}", f"user-{number}", offset=number % 90, durable=1)
    with ledger.database.transaction() as connection:
        connection.execute(
            "WITH RECURSIVE more (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM more WHERE n < 99)"
            " INSERT INTO uploads (upload, user, bytes, inode, receipt, key, metadata, name, path,"
            " on_conflict, durability, authenticated, began, durable, boot, offset, until)"
            " SELECT upload || '-' || n, user, bytes, inode, receipt,"
            " key || n, metadata, name, path, on_conflict, durability, authenticated, began,"
            " durable, boot, offset, until FROM uploads, more"
        )
    ledger.close()
    ledger = SqliteLedger.open(path, clock, boot="boot-2")
    certain = ledger.interrupted()
    assert len(certain) == MANY
    assert set(certain.values()) == {1}
    offsets = dict.fromkeys(list(certain)[: MANY - 10], 1)
    ledger.reconcile({}, {}, recovery=Recovery(offsets, seconds=60))
    kept = MANY - 10
    assert await ledger.total() == Holding(kept=kept, kept_uploads=kept)
    assert await ledger.kept_bytes(authenticated=True) == kept
    pages, first = 0, ""
    while page := await ledger.kept_from(first, 500):
        pages += len(page)
        first = page[-1].upload + "\0"
    assert pages == kept
    clock.now += 60
    assert len(await ledger.expire(MANY)) == kept
    assert ledger.holdings() == {}
    ledger.close()


# Kills.

KILLED: Final = """
import os, signal, sys, trio
from itertools import count
from galileod.ledger.base import Resumable
from galileod.ledger.sqlite import SqliteLedger

async def main(path, limit):
    ledger = SqliteLedger.open(path, lambda: 1000.0, boot="boot-1")
    statements = 0

    def kill(_):
        # Called before each statement, also of a trigger.
        nonlocal statements
        statements += 1
        if statements > limit:
            os.kill(os.getpid(), signal.SIGKILL)

    ledger.database.connection.set_trace_callback(kill)
    allow = lambda all, mine: None
    for number in range(2):
        about = Resumable(f"k{number}", "m", "n", "p", "rename", "full", True)
        await ledger.reserve(f"u{number}", "anna", 100, allow, resumable=about)
        await ledger.checkpoint(f"u{number}", 10)
        await ledger.keep(f"u{number}", 40, 30, 60, 1)
    await ledger.resume("u1", allow)
    await ledger.promise("u1", "7")
    await ledger.commit("u1", "a.txt", remember=60)
    ledger.close()

for limit in count():
    child = os.fork()
    if child == 0:
        trio.run(main, f"{sys.argv[1]}-{limit}", limit)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if status != signal.SIGKILL:
        sys.exit(status)
"""
"""Keeps, resumes and stores uploads in a new ledger, killed after each number of statements."""


def test_a_kill_at_any_statement_leaves_each_upload_in_one_state(path: str) -> None:
    subprocess.run([sys.executable, "-c", KILLED, path], check=True, timeout=60)
    states = set[tuple[int, int, int]]()
    paths = Path(path).parent.glob("ledger.sqlite3-*[0-9]")
    for killed in paths:
        ledger = SqliteLedger.open(str(killed), lambda: 1000.0, boot="boot-1")
        certain = ledger.interrupted()
        held = ledger.holdings().get("anna", Holding())
        kept, running, files = held.kept_uploads, held.uploads, held.files
        assert held == Holding(100 * files, files, 100 * running, running, 40 * kept, kept)
        assert len(certain) == kept + running
        states.add((kept, running, files))
        recovery = Recovery(dict.fromkeys(certain, 35), seconds=60)
        ledger.reconcile({"a.txt": 100} if files else {}, {}, recovery=recovery)
        left = len(certain)
        assert ledger.holdings().get("anna", Holding()) == Holding(
            100 * files, files, kept=35 * left, kept_uploads=left
        )
        ledger.close()
    # The one that is kept first gives way to the second.
    assert states == {(0, 0, 0), (0, 1, 0), (1, 0, 0), (1, 1, 0), (0, 0, 1)}


async def test_uploads_that_are_dropped_for_a_new_one_are_gone_with_it(path: str) -> None:
    ledger = SqliteLedger.open(path)
    await keep(ledger, "u1")
    await begin(ledger, "u2")
    ledger.database.connection.execute(
        "CREATE TRIGGER bad BEFORE DELETE ON uploads BEGIN SELECT RAISE(ABORT, 'full'); END"
    )
    with pytest.raises(LedgerError, match="full"):
        await ledger.keep("u2", 5, 5, 60, 1)
    assert names(await ledger.kept_from("", 9)) == ["u1"]
    assert ledger.holdings() == {"anna": Holding(reserved=100, uploads=1, kept=40, kept_uploads=1)}
    ledger.close()
