"""What the SQLite ledger promises of uploads to object storage beyond the contract."""

import shutil
import signal
from itertools import pairwise
from pathlib import Path
from typing import Final

import pytest
import trio
from helpers.forks import run_code
from helpers.objects import part, steps

from galileod.ledger import naming
from galileod.ledger.objects import MOST_NUMBER, Claim, NameTakenError, ObjectUpload
from galileod.ledger.sqlite import SqliteLedger


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite3"


def log_bytes(path: Path) -> int:
    return Path(f"{path}-wal").stat().st_size


async def test_what_is_durable_survives_a_power_failure_with_what_came_before(
    path: Path, tmp_path: Path
) -> None:
    # Of the log, it leaves what was synced: at least up to the last durable step.
    ledger = SqliteLedger.open(str(path))
    statements, copies = list[str](), 0
    ledger.database.connection.set_trace_callback(statements.append)
    for durable, step in steps(ledger):
        before = log_bytes(path)
        statements.clear()
        await step()
        levels = [one for one in statements if one == "COMMIT" or "synchronous =" in one]
        assert (("PRAGMA synchronous = FULL", "COMMIT") in pairwise(levels)) == durable
        if not durable:
            continue
        assert log_bytes(path) > before  # SQLite syncs nothing if there is nothing to write
        left = tmp_path / f"left {copies}"
        copies += 1
        for suffix in ("", "-wal"):
            shutil.copyfile(f"{path}{suffix}", f"{left}{suffix}")
        found = SqliteLedger.open(str(left))
        assert list(found.objects.all()) == list(ledger.objects.all())
        found.close()
    assert copies == 11
    ledger.close()


KILLED: Final = """
import os, signal, sys, trio
sys.path.insert(0, sys.argv[2])
from helpers.objects import steps
from galileod.ledger.sqlite import SqliteLedger

async def main():
    ledger = SqliteLedger.open(sys.argv[1])
    for _, step in steps(ledger)[:int(sys.argv[3])]:
        await step()
    os.kill(os.getpid(), signal.SIGKILL)

trio.run(main)
"""
"""Takes so many steps, and is killed."""


async def test_a_process_that_is_killed_after_any_step_has_lost_nothing(
    path: Path, tmp_path: Path
) -> None:
    ledger = SqliteLedger.open(str(path))
    every = steps(ledger)
    for taken, (_, step) in enumerate(every, 1):
        await step()
        killed = tmp_path / f"killed {taken}"
        tests = str(Path(__file__).parents[2])
        status = await trio.to_thread.run_sync(run_code, KILLED, killed, tests, str(taken))
        assert status == -signal.SIGKILL
        found = SqliteLedger.open(str(killed))
        assert list(found.objects.all()) == list(ledger.objects.all())
        assert found.holdings() == ledger.holdings()
        found.close()
    ledger.close()


async def test_parts_of_several_uploads_share_a_transaction(path: Path) -> None:
    ledger = SqliteLedger.open(str(path))
    uploads = [f"u{number}" for number in range(20)]
    for upload in uploads:
        await ledger.objects.begin(upload, 1, 1)
    statements: list[str] = []
    ledger.database.connection.set_trace_callback(statements.append)
    async with trio.open_nursery() as nursery:
        for upload in uploads:
            nursery.start_soon(ledger.objects.add_part, upload, part(1))
    assert statements.count("COMMIT") <= 2
    assert all(one.parts == (part(1),) for one in ledger.objects.all())
    ledger.close()


async def test_a_number_is_found_in_few_queries_however_many_names_are_equal(path: Path) -> None:
    ledger = SqliteLedger.open(str(path))
    number = 10_000
    names = [f"d/a ({one}).tar.gz" for one in range(1, number)]
    with ledger.database.transaction() as connection:
        connection.executemany(
            "INSERT INTO files (name, user, bytes) VALUES (?, 'anna', 1)",
            [(name,) for name in ["d/a.tar.gz", *names[::2]]],
        )
    claims = [Claim(f"u{at}", 1, name, "reject") for at, name in enumerate(names[1::2])]
    await ledger.objects.claim_whole(claims)
    await ledger.objects.begin("u", 1, 1)
    statements: list[str] = []
    ledger.database.connection.set_trace_callback(statements.append)
    assert await ledger.objects.claim("u", "d/a.tar.gz", "rename") == f"d/a ({number}).tar.gz"
    assert 10 < len(statements) < 40
    ledger.close()


@pytest.mark.parametrize("free", [1, 2, 3, 7, 8, 9, 1000, MOST_NUMBER - 1, MOST_NUMBER, None])
def test_the_number_after_all_that_are_taken_is_found(free: int | None) -> None:
    assert naming.free_number(lambda number: free is None or number < free) == free


async def test_a_name_without_a_free_number_is_taken(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(naming, "MOST_NUMBER", 5)
    ledger = SqliteLedger.open(str(path))
    claims = [Claim(f"u{number}", 1, "a", "rename") for number in range(7)]
    *names, last = await ledger.objects.claim_whole(claims)
    assert names == ["a", *(f"a ({number})" for number in range(1, 6))]
    assert isinstance(last, NameTakenError)
    assert len(list(ledger.objects.all())) == 6
    ledger.close()


async def test_no_query_reads_all_uploads_or_files_while_uploads_run(path: Path) -> None:
    ledger = SqliteLedger.open(str(path))
    connection, statements = ledger.database.connection, list[str]()
    connection.set_trace_callback(statements.append)
    for _, step in steps(ledger):
        await step()
    await ledger.objects.get("u1")
    connection.set_trace_callback(None)
    asked = [one for one in statements if one.startswith(("SELECT", "UPDATE", "DELETE"))]
    plans = [
        line
        for one in asked
        for *_, line in connection.execute(f"EXPLAIN QUERY PLAN {one}")
        if "objects" in line or "parts" in line or "files" in line
    ]
    assert len(plans) > 20
    assert [line for line in plans if " USING " not in line] == []
    ledger.close()


def test_a_ledger_that_is_written_again_has_the_uploads_to_object_storage(path: Path) -> None:
    ledger = SqliteLedger.open(str(path))
    trio.run(ledger.objects.claim_whole, [Claim("u1", 5, "a", "rename")])
    path.unlink()
    trio.run(ledger.objects.begin, "u2", 1, 1)
    ledger.close()
    ledger = SqliteLedger.open(str(path))
    assert list(ledger.objects.all()) == [
        ObjectUpload("u1", 5, 5, "a", completing=True), ObjectUpload("u2", 1, 1),
    ]  # fmt: skip
    ledger.close()
