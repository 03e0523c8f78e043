"""A ledger on a filesystem without shared memory, which one process alone can use."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest
import trio
from helpers.forks import run_code
from helpers.ledgers import allow
from structlog.testing import capture_logs

from galileod.ledger.base import LedgerError
from galileod.ledger.sqlite import SqliteLedger, connection
from galileod.ledger.sqlite.filenames import copy_path
from galileod.ledger.sqlite.shared_memory import fails_at_once, supports_shared_memory
from galileod.policy.quota import Holding

HELD = {"anna": Holding(bytes=100, files=1)}


@pytest.fixture
def folder() -> Iterator[Path]:
    """A directory of mergerfs that cannot be mapped into memory, as with its default settings."""
    if os.geteuid() != 0 or not shutil.which("mergerfs") or not os.path.exists("/dev/fuse"):
        assert not os.environ.get("CI"), "the tests need root, mergerfs and /dev/fuse"
        pytest.skip("needs root, mergerfs and /dev/fuse")
    with tempfile.TemporaryDirectory(prefix="galileod-") as base:
        branch, mounted = Path(base, "branch"), Path(base, "mounted")
        branch.mkdir()
        mounted.mkdir()
        subprocess.run(
            ["mergerfs", "-o", "cache.files=off,minfreespace=0", branch, mounted], check=True
        )
        try:
            yield mounted
        finally:
            subprocess.run(["umount", mounted], check=True)


async def store(ledger: SqliteLedger) -> None:
    await ledger.reserve("u1", "anna", 100, allow)
    await ledger.promise("u1", "7", "{}")
    await ledger.commit("u1", "a.txt")


async def test_it_is_locked_and_that_is_told_once(folder: Path) -> None:
    path = str(folder / "ledger")
    with capture_logs() as logs:
        ledger = SqliteLedger.open(path)
        await store(ledger)
        ledger.reconcile({"a.txt": 100}, {})
        with (
            closing(sqlite3.connect(path, timeout=0)) as other,
            pytest.raises(sqlite3.OperationalError, match="locked"),
        ):
            other.execute("PRAGMA user_version")
    assert sorted(os.listdir(folder)) == ["ledger", "ledger-wal"]
    ledger.close()
    assert [(line["event"], line["path"], line["mode"]) for line in logs] == [
        ("ledger.journal", path, "exclusive")
    ]
    assert "shared memory" in logs[0]["reason"]
    with closing(SqliteLedger.open_read_only(path)) as look:
        assert look.holdings() == HELD
    assert os.listdir(folder) == ["ledger"]


KILLED: Final = """
import os, signal, sys, trio
from galileod.ledger.sqlite import SqliteLedger

async def main():
    ledger = SqliteLedger.open(sys.argv[1])
    for number in range(int(sys.argv[2])):
        upload = f"u{number}"
        await ledger.reserve(upload, "anna", 1, lambda all, mine: None)
        await ledger.promise(upload, str(number), "{}")
        await ledger.commit(upload, f"{number}.txt")
    await ledger.reserve("u", "anna", 1, lambda all, mine: None)
    await ledger.promise("u", "77", "{}")
    os.kill(os.getpid(), signal.SIGKILL)

trio.run(main)
"""
"""Stores files, promises a receipt for a further one, and is killed."""


def kill(path: Path, files: int) -> None:
    assert run_code(KILLED, path, str(files)) == -signal.SIGKILL


LOCKING: Final = """
import sys, trio
from galileod.ledger.sqlite import SqliteLedger

async def main():
    ledger = SqliteLedger.open(sys.argv[1])
    print(flush=True)
    number = 0
    while True:
        await ledger.reserve(f"u{number}", f"user {number % 7}", 3, lambda all, mine: None)
        await ledger.commit(f"u{number}", f"{number}.txt")
        number += 1

trio.run(main)
"""
"""Stores files until it is killed."""


def test_a_look_beside_the_process_that_writes_is_consistent(folder: Path) -> None:
    path = folder / "ledger"
    seen: list[int] = []
    with subprocess.Popen([sys.executable, "-c", LOCKING, path], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()  # the log
        process.stdout.readline()
        while len(seen) < 20:
            with closing(SqliteLedger.open_read_only(str(path))) as look:
                used = look.database.connection
                connection.check_content(used)
                (count,) = used.execute("SELECT count(*) FROM files").fetchone()
                assert sum(held.files for held in look.holdings().values()) == count
                seen.append(count)
        process.kill()
    assert seen == sorted(seen)
    assert len(set(seen)) > 1
    with closing(SqliteLedger.open(str(path))) as ledger:
        assert sum(held.files for held in ledger.holdings().values()) >= seen[-1]


# 400 files are more than the log holds before it is copied into the file.
@pytest.mark.parametrize("files", [0, 1, 400])
@pytest.mark.parametrize("look", [False, True])
def test_nothing_is_lost_if_the_process_is_killed(folder: Path, files: int, *, look: bool) -> None:
    path = folder / "ledger"
    kill(path, files)
    assert sorted(os.listdir(folder)) == ["ledger", "ledger-wal"]
    opened = (SqliteLedger.open_read_only if look else SqliteLedger.open)(str(path))
    with closing(opened) as ledger:
        assert ledger.holdings() == {"anna": Holding(files, files, 1, 1)}
        assert ledger.promised() == {"77"}


@pytest.mark.parametrize("there", [False, True], ids=["from there", "to there"])
def test_one_of_a_killed_process_may_be_moved(folder: Path, tmp_path: Path, *, there: bool) -> None:
    other = tmp_path / "other"
    other.mkdir()
    source, target = (other, folder) if there else (folder, other)
    kill(source / "ledger", 3)
    for path in source.iterdir():
        shutil.copyfile(path, target / path.name)
    # As of a process that used shared memory.
    (target / "ledger-shm").write_bytes(b"\xa5" * 32768)
    with closing(SqliteLedger.open(str(target / "ledger"))) as ledger:
        assert ledger.holdings() == {"anna": Holding(3, 3, 1, 1)}
        trio.run(ledger.total)


@pytest.mark.parametrize("journal", ["WAL", "DELETE", "TRUNCATE"])
def test_a_look_at_one_that_was_moved_there_works(folder: Path, journal: str) -> None:
    with closing(SqliteLedger.open(str(folder.with_name("branch") / "ledger"))) as moved:
        trio.run(store, moved)
        moved.database.connection.execute(f"PRAGMA journal_mode = {journal}")
    with closing(SqliteLedger.open_read_only(str(folder / "ledger"))) as look:
        assert look.holdings() == HELD


async def test_a_complete_copy_that_a_crash_left_there_is_used(folder: Path) -> None:
    ledger = SqliteLedger.open(str(folder / "ledger"))
    await store(ledger)
    with closing(sqlite3.connect(copy_path(str(folder / "ledger")))) as copy:
        ledger.database.connection.backup(copy)
    ledger.database.connection.close()
    os.unlink(folder / "ledger")
    ledger = SqliteLedger.open(str(folder / "ledger"))
    assert ledger.holdings() == HELD
    ledger.close()


async def test_a_damaged_one_is_made_anew_there(folder: Path) -> None:
    path = folder / "ledger"
    ledger = SqliteLedger.open(str(path))
    await store(ledger)
    ledger.close()
    size = os.stat(path).st_size
    os.truncate(path, size - 4096)
    with capture_logs() as logs:
        ledger = SqliteLedger.open(str(path))
    assert "ledger.damaged" in [line["event"] for line in logs]
    await ledger.reserve("u2", "anna", 1, allow)
    ledger.close()


@pytest.mark.parametrize("suffixes", [("",), ("-wal",), ("", "-wal")], ids=repr)
async def test_a_removed_one_is_written_again_there(folder: Path, suffixes: Sequence[str]) -> None:
    path = str(folder / "ledger")
    ledger = SqliteLedger.open(path)
    await store(ledger)
    for suffix in suffixes:
        os.unlink(path + suffix)
    with capture_logs() as logs:
        await ledger.total()
        await ledger.total()
    assert [line["event"] for line in logs] == ["ledger.restored"]
    ledger.close()
    ledger = SqliteLedger.open(path)
    assert ledger.holdings() == HELD
    ledger.close()


async def test_shared_memory_of_an_earlier_process_is_not_missed_there(folder: Path) -> None:
    shared = folder / "ledger-shm"
    shared.write_bytes(bytes(32768))
    ledger = SqliteLedger.open(str(folder / "ledger"))
    shared.unlink()
    with capture_logs() as logs:
        await store(ledger)
    assert not logs
    ledger.close()


async def test_one_that_is_replaced_there_is_refused(folder: Path) -> None:
    path = folder / "ledger"
    ledger = SqliteLedger.open(str(path))
    SqliteLedger.open(str(folder / "other")).close()
    await store(ledger)
    os.rename(folder / "other", path)
    with pytest.raises(LedgerError, match="replaced by another file"):
        await ledger.total()
    ledger.close()
    assert os.listdir(folder) == ["ledger"]
    ledger = SqliteLedger.open(str(path))
    assert ledger.holdings() == {}
    ledger.close()


@pytest.mark.parametrize(("at_once", "level"), [(True, 1), (False, 2)])
async def test_each_transaction_is_synced_where_writes_fail_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, level: int, *, at_once: bool
) -> None:
    monkeypatch.setattr(connection, "fails_at_once", lambda _: at_once)
    ledger = SqliteLedger.open(str(tmp_path / "ledger"))
    await store(ledger)  # a durable transaction changes the level only for itself
    used = ledger.database.connection
    assert used.execute("PRAGMA synchronous").fetchone() == (level,)
    ledger.close()


def test_the_filesystem_decides(tmp_path: Path, folder: Path) -> None:
    assert not supports_shared_memory(str(folder))
    assert not fails_at_once(str(folder))
    for decides in (supports_shared_memory, fails_at_once):
        assert decides("/dev/shm")  # noqa: S108  a tmpfs
    with pytest.raises(FileNotFoundError):
        supports_shared_memory(str(tmp_path / "missing"))
