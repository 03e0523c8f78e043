"""A ledger on a filesystem without shared memory, where SQLite's WAL mode does not work."""

import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from helpers.ledgers import allow
from structlog.testing import capture_logs

from galileod.ledger.base import LedgerError
from galileod.ledger.sqlite import SqliteLedger, connection
from galileod.ledger.sqlite.shared_memory import supports_shared_memory
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
        subprocess.run(["mergerfs", "-o", "cache.files=off", branch, mounted], check=True)
        try:
            yield mounted
        finally:
            subprocess.run(["umount", mounted], check=True)


async def store(ledger: SqliteLedger) -> None:
    await ledger.reserve("u1", "anna", 100, allow)
    await ledger.promise("u1", "7", "{}")
    await ledger.commit("u1", "a.txt")


async def test_another_journal_is_used_and_told_once(folder: Path) -> None:
    path = str(folder / "ledger")
    with capture_logs() as logs:
        ledger = SqliteLedger.open(path)
        await store(ledger)
        with closing(SqliteLedger.open_read_only(path)) as look:
            assert look.holdings() == HELD
        ledger.reconcile({"a.txt": 100}, {})
    ledger.close()
    assert [(line["event"], line["path"], line["mode"]) for line in logs] == [
        ("ledger.journal", path, "truncate")
    ]
    assert "shared memory" in logs[0]["reason"]
    ledger = SqliteLedger.open(path)
    assert ledger.holdings() == HELD
    ledger.close()


async def test_one_in_wal_mode_that_was_moved_there_is_converted(
    folder: Path, tmp_path: Path
) -> None:
    ledger = SqliteLedger.open(str(tmp_path / "ledger"))
    await store(ledger)
    for suffix in ("", "-wal"):  # as a killed process leaves it: the rows are in the log
        shutil.copyfile(tmp_path / f"ledger{suffix}", folder / f"ledger{suffix}")
    ledger.close()
    ledger = SqliteLedger.open(str(folder / "ledger"))
    assert ledger.holdings() == HELD
    ledger.close()


def test_a_look_at_one_that_was_moved_there_names_the_cause(folder: Path) -> None:
    path = folder / "ledger"
    with closing(sqlite3.connect(folder.with_name("branch") / "ledger")) as moved:
        moved.execute("PRAGMA journal_mode = WAL")
        moved.execute("CREATE TABLE files (name TEXT)")
    with pytest.raises(LedgerError, match=r"does not support shared memory.*start galileod"):
        SqliteLedger.open_read_only(str(path))


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


async def test_a_removed_one_is_written_again_there(folder: Path) -> None:
    path = str(folder / "ledger")
    ledger = SqliteLedger.open(path)
    await store(ledger)
    os.unlink(path)
    await ledger.total()
    ledger.close()
    ledger = SqliteLedger.open(path)
    assert ledger.holdings() == HELD
    ledger.close()


async def test_one_that_was_moved_back_uses_wal_mode_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "supports_shared_memory", lambda _: False)
    ledger = SqliteLedger.open(str(tmp_path / "ledger"))
    await store(ledger)
    used = ledger.database.connection
    assert used.execute("PRAGMA journal_mode").fetchone() == ("truncate",)
    assert used.execute("PRAGMA locking_mode").fetchone() == ("normal",)
    ledger.close()
    monkeypatch.undo()
    ledger = SqliteLedger.open(str(tmp_path / "ledger"))
    used = ledger.database.connection
    assert used.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert ledger.holdings() == HELD
    ledger.close()


def test_the_filesystem_decides(tmp_path: Path, folder: Path) -> None:
    assert not supports_shared_memory(str(folder))
    assert supports_shared_memory("/dev/shm")  # noqa: S108  a tmpfs
    with pytest.raises(FileNotFoundError):
        supports_shared_memory(str(tmp_path / "missing"))
