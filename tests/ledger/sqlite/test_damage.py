"""Ledgers whose content is not valid: set aside, and made anew of what can be read."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest
import trio
from helpers.forks import run_code
from helpers.ledgers import KILL_AFTER, allow, begin, keep, owed, resumable
from helpers.objects import PART, part, tail
from structlog.testing import capture_logs

from galileod.ledger.base import (
    AlreadyUsedError,
    KeptUpload,
    LedgerError,
    Recovery,
    SingleUse,
    StoredUpload,
)
from galileod.ledger.objects import ObjectUpload
from galileod.ledger.sqlite import SqliteLedger, filenames
from galileod.policy.quota import Holding

FILES = 3000
BEGAN = 1000.0
NEVER = 2**40
PAGE = 4096

KEPT = KeptUpload("u3", "carla", 100, resumable("key of u3"), 40, 30, BEGAN, BEGAN + NEVER)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A ledger with many files of two users, and some rows in each other table."""
    path = tmp_path / "ledger.sqlite3"

    async def fill() -> None:
        ledger = SqliteLedger.open(str(path), lambda: BEGAN)
        with ledger.database.transaction() as connection:
            connection.executemany(
                "INSERT INTO files (name, user, bytes) VALUES (?, ?, 1)",
                [(name_of(number), f"user-{number % 2}") for number in range(FILES)],
            )
        await ledger.reserve("u1", "anna", 5, allow)
        await ledger.promise("u1", "7", '{"id": "promised"}')
        await ledger.reserve("u2", "anna", 5, allow, SingleUse("ticket", NEVER))
        await ledger.promise("u2", "8", '{"id": "owed"}')
        await ledger.commit("u2", "owed")
        await keep(ledger, "u3", "carla", durable=30, seconds=NEVER)
        await begin(ledger, "u4", "carla")
        await begin(ledger, "u5", "carla", 9)
        await ledger.commit("u5", "stored", remember=NEVER)
        for upload in ("u3", "u4"):
            await ledger.objects.begin(upload, 100, 8)
            await ledger.objects.claim(upload, f"{upload}.bin", "rename")
        await ledger.objects.created("u3", "multipart")
        for number in (1, 2, 4):
            await ledger.objects.add_part("u3", part(number))
        await ledger.objects.set_tail("u3", tail(2 * PART, 5))
        await ledger.objects.completing("u4")
        ledger.set_home("s3://bucket")
        ledger.close()

    trio.run(fill)
    return path


def name_of(number: int) -> str:
    return f"{number:05}-{'x' * 50}"


def disk() -> dict[str, int]:
    return {name_of(number): 1 for number in range(FILES)} | {"owed": 5, "promised": 5, "stored": 9}


def spoil_page(path: Path, number: int) -> None:
    with path.open("r+b") as file:
        file.seek(number * PAGE)
        file.write(b"\xa5" * PAGE)


def page_of(path: Path, table: str) -> int:
    """A page of the table that has rows only of it."""
    with closing(sqlite3.connect(path)) as connection:
        (root,) = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)
        ).fetchone()
    return int(root) - 1


def spoil_rows(path: Path) -> None:
    """Spoil a page in the middle of the files."""
    needle = name_of(FILES // 2).encode()
    content = path.read_bytes()
    table = page_of(path, "sqlite_autoindex_files_1")
    at = next(
        place // PAGE
        for place in range(0, len(content), PAGE)
        # A leaf of a table, not of an index.
        if content[place] == 0x0D and needle in content[place : place + PAGE]
    )
    assert at != table
    spoil_page(path, at)


def spoil_header(path: Path) -> None:
    spoil_page(path, 0)


def shorten(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2 // PAGE * PAGE)


def shorten_to_a_few_bytes(path: Path) -> None:
    os.truncate(path, 50)


def overwrite(path: Path) -> None:
    path.write_bytes(b"this is no database, and quite long enough" * 100)


def start(path: Path) -> tuple[SqliteLedger, list[dict[str, Any]]]:
    """Open and reconcile it as the daemon does; gives the log as well."""
    with capture_logs() as logs:
        ledger = SqliteLedger.open(str(path))
        names = {"7": "promised"} if "7" in ledger.promised() else {}
        ledger.reconcile(disk(), names)
    return ledger, [dict(line) for line in logs]


@pytest.mark.parametrize(
    "spoil", [spoil_rows, spoil_header, shorten, shorten_to_a_few_bytes, overwrite]
)
def test_a_damaged_ledger_is_set_aside_and_made_anew(path: Path, spoil: Any) -> None:  # noqa: ANN401
    spoil(path)
    spoiled = path.read_bytes()
    ledger, logs = start(path)
    holdings = ledger.holdings()
    assert sum(held.files for held in holdings.values()) == FILES + 3
    damaged, unknown = logs
    assert (damaged["event"], damaged["log_level"]) == ("ledger.damaged", "warning")
    assert damaged["path"] == str(path)
    assert damaged["reason"]
    assert Path(damaged["moved_to"]).read_bytes() == spoiled
    assert (unknown["event"], unknown["log_level"]) == ("ledger.owners_unknown", "warning")
    assert unknown["files"] == holdings[""].files > 0
    # It is a good ledger from now on.
    trio.run(ledger.reserve, "u3", "bert", 1, allow)
    ledger.close()
    ledger, logs = start(path)
    assert not logs
    ledger.close()


async def test_what_can_be_read_is_kept(path: Path) -> None:
    spoil_rows(path)
    ledger, logs = start(path)
    holdings = ledger.holdings()
    kept = FILES - holdings[""].files
    assert FILES - 200 < kept < FILES  # all but those of one page
    assert holdings["user-0"].files + holdings["user-1"].files == kept
    assert holdings["anna"] == Holding(bytes=10, files=2)
    assert logs[0]["kept"] == {
        "files": kept + 2, "resumable": 2, "uploads": 1, "receipts": 1, "tickets": 1,
        "stored_uploads": 1, "folders": 0, "objects": 2, "parts": 3, "home": 1,
    }  # fmt: skip
    assert sorted(await owed(ledger)) == [
        ("owed", '{"id": "owed"}', 0), ("promised", '{"id": "promised"}', 0),
    ]  # fmt: skip
    with pytest.raises(AlreadyUsedError):
        await ledger.reserve("u3", "anna", 1, allow, SingleUse("ticket", NEVER))
    assert ledger.home() == "s3://bucket"
    ledger.close()


async def test_uploads_that_may_be_resumed_are_kept_and_stored_ones_remembered(path: Path) -> None:
    spoil_rows(path)
    ledger = SqliteLedger.open(str(path))
    assert ledger.interrupted() == {"u3": 40, "u4": None}
    assert await ledger.find("key of u3") == KEPT
    assert await ledger.find("key of u5") == StoredUpload("metadata of key of u5", "stored")
    ledger.reconcile(disk(), {}, recovery=Recovery({"u3": 40, "u4": 10}, seconds=NEVER))
    assert ledger.holdings()["carla"] == Holding(bytes=9, files=1, kept=50, kept_uploads=2)
    assert await ledger.find("key of u3") == KEPT
    ledger.close()


async def test_uploads_to_object_storage_are_kept_with_names_parts_and_tails(path: Path) -> None:
    with closing(SqliteLedger.open(str(path))) as ledger:
        before = list(ledger.objects.all())
    spoil_rows(path)
    ledger = SqliteLedger.open(str(path))
    assert list(ledger.objects.all()) == before
    assert before == [
        ObjectUpload(
            "u3", 100, 8, "u3.bin", "multipart",
            parts=(part(1), part(2)), tail=tail(2 * PART, 5),
        ),
        ObjectUpload("u4", 100, 8, "u4.bin", completing=True),
    ]  # fmt: skip
    await ledger.objects.add_part("u3", part(3))
    (u3, _) = ledger.objects.all()
    assert u3.offset == 4 * PART
    ledger.close()


async def test_a_tail_does_not_count_if_a_part_before_it_was_lost(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM parts WHERE number = 2")
    ledger = SqliteLedger.open(str(path))
    (u3, _) = ledger.objects.all()
    assert (u3.tail, u3.offset) == (None, PART)
    ledger.close()


async def test_a_damaged_ledger_of_the_version_before_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    with closing(sqlite3.connect(path)) as older:
        older.executescript(Path(__file__).with_name("schema_3.sql").read_text())
        older.execute("CREATE TABLE spoiled (number INTEGER)")
    spoil_page(path, page_of(path, "spoiled"))
    with capture_logs() as logs:
        ledger = SqliteLedger.open(str(path))
    assert logs[0]["kept"] == {
        "files": 1, "resumable": 0, "uploads": 1, "receipts": 1, "tickets": 1, "stored_uploads": 0,
        "folders": 0, "objects": 0, "parts": 0, "home": 0,
    }  # fmt: skip
    assert list(ledger.promised()) == ["4711"]
    ledger.reconcile({"a.txt": 100, "b.txt": 30}, {"4711": "b.txt"})
    assert ledger.holdings() == {
        "anna": Holding(bytes=100, files=1),
        "bert": Holding(bytes=30, files=1),
    }
    ledger.close()


def test_rows_in_the_log_are_kept_as_well(path: Path, tmp_path: Path) -> None:
    # A process that was killed leaves them there.
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("INSERT INTO files (name, user, bytes) VALUES ('late', 'doris', 1)")
        killed = tmp_path / "killed"
        for suffix in ("", "-wal"):
            Path(f"{killed}{suffix}").write_bytes(Path(f"{path}{suffix}").read_bytes())
    spoil_rows(killed)
    with capture_logs() as logs:
        ledger = SqliteLedger.open(str(killed))
    assert logs[0]["event"] == "ledger.damaged"
    assert ledger.holdings()["doris"] == Holding(bytes=1, files=1)
    ledger.close()


@pytest.mark.parametrize("empty", [False, True])
def test_a_missing_or_empty_ledger_beside_files_is_told(path: Path, *, empty: bool) -> None:
    path.unlink()
    if empty:
        path.touch()
    ledger, logs = start(path)
    assert [(line["event"], line["files"]) for line in logs] == [
        ("ledger.owners_unknown", FILES + 3)
    ]
    assert str(path) == logs[0]["path"]
    ledger.close()
    ledger, logs = start(path)
    assert not logs
    ledger.close()


def test_a_first_start_warns_of_nothing(tmp_path: Path) -> None:
    with capture_logs() as logs:
        ledger = SqliteLedger.open(str(tmp_path / "new"))
        ledger.reconcile({}, {})
    ledger.close()
    assert logs == []


def test_files_added_by_hand_are_not_warned_of(path: Path) -> None:
    ledger, _ = start(path)
    with capture_logs() as logs:
        ledger.reconcile(disk() | {"new": 1}, {})
    ledger.close()
    assert logs == []


def test_the_last_three_damaged_ledgers_are_kept(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for second in range(5):
        monkeypatch.setattr("galileod.ledger.sqlite.rebuild.time.time", lambda now=second: now)
        overwrite(path)
        Path(f"{path}-wal").touch()
        SqliteLedger.open(str(path)).close()
    kept = sorted(name for name in os.listdir(path.parent) if ".damaged-" in name)
    assert [name.removeprefix(f"{path.name}.damaged-") for name in kept] == [
        f"19700101T00000{second}Z{suffix}" for second in (2, 3, 4) for suffix in ("", "-wal")
    ]
    assert filenames.KEPT_DAMAGED == 3


def test_damage_that_is_found_while_it_runs_names_the_remedy(path: Path) -> None:
    ledger = SqliteLedger.open(str(path))
    ledger.database.connection.execute("PRAGMA shrink_memory")  # forgets the pages it has read
    for page in range(path.stat().st_size // PAGE):
        spoil_page(path, page)
    with pytest.raises(LedgerError, match=r"the ledger is damaged: .*; a restart of galileod"):
        trio.run(ledger.reserve, "u3", "anna", 1, allow)
    ledger.close()


@pytest.mark.parametrize("look", [True, False])
def test_a_ledger_of_a_newer_version_is_no_damage(path: Path, *, look: bool) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    before = path.read_bytes()
    with pytest.raises(LedgerError, match="newer galileod"):
        (SqliteLedger.open_read_only if look else SqliteLedger.open)(str(path))
    assert os.listdir(path.parent) == [path.name]
    assert path.read_bytes() == before


def test_a_locked_ledger_is_no_damage(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("galileod.ledger.sqlite.connection.BUSY_SECONDS", 0.01)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(LedgerError, match="another process has locked it"):
            SqliteLedger.open(str(path))
    assert not [name for name in os.listdir(path.parent) if "damaged" in name]


def test_another_database_is_no_damage(tmp_path: Path) -> None:
    path = tmp_path / "other"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE files (number INTEGER)")
    with pytest.raises(LedgerError, match="other tables than a ledger"):
        SqliteLedger.open(str(path))
    assert os.listdir(tmp_path) == [path.name]


KILLED: Final = (
    KILL_AFTER
    + """
import sys
from galileod.ledger.sqlite import SqliteLedger
kill_after(int(sys.argv[2]))
SqliteLedger.open(sys.argv[1]).close()
"""
)
"""Opens a ledger, and is killed after so many calls that change directories."""


def test_a_kill_at_any_step_leaves_a_ledger_with_all_that_could_be_read(path: Path) -> None:
    spoil_rows(path)
    Path(f"{path}-wal").touch()
    spoiled = path.read_bytes()
    limit, status = 0, -9
    while status == -9:
        for name in os.listdir(path.parent):
            (path.parent / name).unlink()
        path.write_bytes(spoiled)
        Path(f"{path}-wal").touch()
        status = run_code(KILLED, path, str(limit))
        assert status in (0, -9)
        ledger, _ = start(path)
        assert ledger.holdings()["anna"] == Holding(bytes=10, files=2), limit
        assert ledger.holdings()[""].files < 200
        ledger.close()
        assert not Path(filenames.copy_path(str(path))).exists()
        limit += 1
    assert limit > 8
