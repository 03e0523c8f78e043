"""Files of older and newer versions, and files that are opened to read them."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from helpers.ledgers import allow, keep

from galileod.ledger.base import KeptUpload, LedgerError, Recovery
from galileod.ledger.objects import ObjectUpload, Part
from galileod.ledger.records import FileEntry, Selection
from galileod.ledger.sqlite import SqliteLedger, files, quota
from galileod.ledger.sqlite.schema import MIGRATIONS
from galileod.policy.quota import Holding

RECEIPT = '{"id": "1"}'
A_TXT = FileEntry(
    "a.txt", "anna", 100, "sha1 of a.txt", 1.79e9, "a.txt", None, "a.txt", 1_700_000_000_000, "u0"
)
"""The file of `schema_6.sql`."""


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "ledger.sqlite3")


def load(connection: sqlite3.Connection, schema: int) -> None:
    """Fill an empty file with what a galileod of that schema left behind."""
    connection.executescript(Path(__file__).with_name(f"schema_{schema}.sql").read_text())


async def owed(ledger: SqliteLedger) -> list[tuple[str, str, int]]:
    return [(one.name, one.receipt, one.attempts) for one in await ledger.outbox.first(100)]


def entries(ledger: SqliteLedger) -> list[FileEntry]:
    return [files.entry(row) for row in ledger.database.connection.execute(files.ALL)]


def test_a_ledger_from_a_newer_version_is_refused(path: str) -> None:
    SqliteLedger.open(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(LedgerError, match="newer galileod"):
        SqliteLedger.open(path)


@pytest.mark.parametrize(("schema", "reserved"), [(1, 0), (3, 5)])
def test_whoever_only_looks_leaves_a_ledger_of_an_older_schema_as_it_is(
    path: str, schema: int, reserved: int
) -> None:
    with closing(sqlite3.connect(path)) as older:
        older.execute("PRAGMA journal_mode = WAL")
        load(older, schema)
        before = list(older.iterdump())
        ledger = SqliteLedger.open_read_only(path)
        anna = Holding(bytes=100, files=1, reserved=reserved, uploads=1 if reserved else 0)
        assert ledger.holdings() == {"anna": anna, "bert": Holding(reserved=30, uploads=1)}
        total = Holding(bytes=100, files=1, reserved=30 + reserved, uploads=1 + anna.uploads)
        assert quota.total(ledger.database.connection) == total
        with (
            pytest.raises(LedgerError, match="readonly"),
            ledger.database.transaction() as connection,
        ):
            connection.execute("DELETE FROM files")
        ledger.close()
        assert list(older.iterdump()) == before
        assert older.execute("PRAGMA user_version").fetchone() == (schema,)
    assert os.listdir(Path(path).parent) == [Path(path).name]


@pytest.mark.parametrize(
    ("schema", "names"),
    [(1, ["a.txt"]), (5, ["2026-11-28/carl/c.bin", "a.txt", "by-hand.txt"]), (6, ["a.txt"])],
)
def test_the_files_of_a_ledger_of_an_older_schema_are_listed(
    path: str, schema: int, names: list[str]
) -> None:
    with closing(sqlite3.connect(path)) as older:
        older.execute("PRAGMA journal_mode = WAL")
        load(older, schema)
    with closing(SqliteLedger.open_read_only(path)) as ledger:
        assert [each.name for each in ledger.files(Selection())] == names
        known = A_TXT if schema == 6 else FileEntry("a.txt", "anna", 100)
        assert list(ledger.files(Selection("anna"))) == [known]
        assert list(ledger.files(Selection(since=1))) == ([known] if schema == 6 else [])


def test_a_look_leaves_nothing_behind_and_makes_no_ledger(path: str) -> None:
    with pytest.raises(LedgerError, match="unable to open"):
        SqliteLedger.open_read_only(path)
    SqliteLedger.open(path).close()
    ledger = SqliteLedger.open_read_only(path)
    assert ledger.holdings() == {}
    ledger.close()
    assert os.listdir(Path(path).parent) == [Path(path).name]


def test_a_look_at_a_ledger_of_a_newer_galileod_says_so(path: str) -> None:
    with closing(sqlite3.connect(path)) as newer:
        newer.execute("PRAGMA user_version = 99")
    with pytest.raises(LedgerError, match="schema 99, from a newer galileod"):
        SqliteLedger.open_read_only(path)


async def test_a_ledger_of_the_first_schema_is_brought_up_to_date(path: str) -> None:
    with closing(sqlite3.connect(path)) as older:
        load(older, 1)
    ledger = SqliteLedger.open(path)
    assert ledger.holdings() == {
        "anna": Holding(bytes=100, files=1),
        "bert": Holding(reserved=30, uploads=1),
    }
    assert await ledger.total() == Holding(bytes=100, files=1, reserved=30, uploads=1)
    await ledger.promise("u2", "7", RECEIPT)
    await ledger.commit("u2", "b.txt")
    assert await ledger.total() == Holding(bytes=130, files=2)
    assert await owed(ledger) == [("b.txt", RECEIPT, 0)]
    assert ledger.holdings() == {
        "anna": Holding(bytes=100, files=1),
        "bert": Holding(bytes=30, files=1),
    }
    ledger.close()


async def test_a_ledger_that_the_version_before_left_in_a_crash_is_settled(path: str) -> None:
    # An upload published and not entered, with its inode as a number; a receipt that is put off by
    # a clock that began with the process; a ticket that was used.
    with closing(sqlite3.connect(path)) as older:
        load(older, 3)
    ledger = SqliteLedger.open(path)
    assert list(ledger.promised()) == ["4711"]
    ledger.reconcile({"a.txt": 100, "b.txt": 30}, {"4711": "b.txt"})
    assert ledger.holdings() == {
        "anna": Holding(bytes=100, files=1),
        "bert": Holding(bytes=30, files=1),
    }
    assert [(one.name, one.attempts, one.wait) for one in await ledger.outbox.first(9)] == [
        ("a.txt", 0, 0.0), ("b.txt", 0, 0.0),
    ]  # fmt: skip
    ledger.close()


async def test_a_ledger_of_the_version_before_keeps_uploads_once_it_is_brought_up_to_date(
    path: str,
) -> None:
    with closing(sqlite3.connect(path)) as older:
        load(older, 3)
    ledger = SqliteLedger.open(path)
    assert ledger.interrupted() == {}
    assert ledger.holdings() == {
        "anna": Holding(bytes=100, files=1, reserved=5, uploads=1),
        "bert": Holding(reserved=30, uploads=1),
    }
    await keep(ledger, "u4", "bert", offset=7, durable=7)
    assert ledger.holdings()["bert"] == Holding(reserved=30, uploads=1, kept=7, kept_uploads=1)
    await ledger.release("u2")
    await ledger.release("u3")
    await ledger.resume("u4", allow)
    await ledger.commit("u4", "b.txt", remember=60)
    assert ledger.holdings() == {
        "anna": Holding(bytes=100, files=1),
        "bert": Holding(bytes=100, files=1),
    }
    ledger.close()


async def test_a_ledger_of_the_version_before_gets_records_of_its_files(path: str) -> None:
    with closing(sqlite3.connect(path)) as older:
        load(older, 5)
    ledger = SqliteLedger.open(path, lambda: 1.79e9 + 60, boot="boot-1")
    assert ledger.interrupted() == {"u2": None, "u3": 40}
    assert sorted(ledger.undated()) == ["2026-11-28/carl/c.bin", "a.txt"]
    on_disk = {"a.txt": 100, "2026-11-28/carl/c.bin": 9, "by-hand.txt": 7, "folder/u2.bin": 30}
    ledger.reconcile(
        on_disk,
        {"4711:9": "folder/u2.bin"},
        recovery=Recovery({"u3": 40}, seconds=86400),
        modified={"a.txt": 1.7e9, "2026-11-28/carl/c.bin": 1.6e9, "by-hand.txt": 1.5e9},
    )
    assert ledger.undated() == []
    files = {each.name: each for each in entries(ledger)}
    assert files == {
        "a.txt": FileEntry("a.txt", "anna", 100, stored=1.7e9),
        "2026-11-28/carl/c.bin": FileEntry("2026-11-28/carl/c.bin", "carl", 9, stored=1.6e9),
        "by-hand.txt": FileEntry("by-hand.txt", "", 7),
        "folder/u2.bin": FileEntry("folder/u2.bin", "bert", 30, stored=1.79e9 + 60, upload="u2"),
    }
    kept = await ledger.find("key of u3")
    assert isinstance(kept, KeptUpload)
    assert kept.about is None
    await ledger.resume("u3", allow)
    await ledger.commit("u3", "u3.bin")
    assert ledger.holdings() == {
        "": Holding(bytes=7, files=1),
        "anna": Holding(bytes=150, files=2),
        "bert": Holding(bytes=30, files=1),
        "carl": Holding(bytes=9, files=1),
    }
    assert await ledger.total() == Holding(bytes=196, files=5)
    assert [(one.name, one.kind) for one in await ledger.outbox.first(9)] == [
        ("a.txt", "stored"), ("folder/u2.bin", "stored"),
    ]  # fmt: skip
    ledger.close()


async def test_a_ledger_of_the_version_before_gets_uploads_to_object_storage(path: str) -> None:
    with closing(sqlite3.connect(path)) as older:
        load(older, 6)
    ledger = SqliteLedger.open(path, lambda: 1.79e9 + 60, boot="boot-1")
    assert list(ledger.objects.all()) == []
    ledger.reconcile(None, {"4711:9": "folder/u1.bin"}, recovery=Recovery({"u2": 40}, seconds=60))
    assert entries(ledger)[0] == A_TXT
    assert ledger.holdings() == {
        "anna": Holding(bytes=100, files=1),
        "bert": Holding(bytes=30, files=1),
        "carl": Holding(kept=40, kept_uploads=1),
    }
    await ledger.objects.begin("u2", 100, 8)
    assert await ledger.objects.claim("u2", "a.txt", "rename") == "a (1).txt"
    assert await ledger.objects.add_part("u2", Part(1, 8, "etag", b"state")) is None
    await ledger.resume("u2", allow)
    await ledger.commit("u2", "a (1).txt")
    assert list(ledger.objects.all()) == []
    ledger.close()


async def test_kept_uploads_are_seen_by_whoever_only_looks(path: str) -> None:
    ledger = SqliteLedger.open(path)
    await keep(ledger, "u1")
    look = SqliteLedger.open_read_only(path)
    assert look.holdings() == {"anna": Holding(kept=40, kept_uploads=1)}
    look.close()
    ledger.close()


def test_the_files_of_older_versions_are_local(path: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        load(connection, 6)
    with closing(SqliteLedger.open(path)) as ledger:
        assert ledger.home() == ""


def test_what_the_version_before_has_abandoned_claims_no_name(path: str) -> None:
    with closing(sqlite3.connect(path)) as older:
        for step in MIGRATIONS[:7]:
            older.executescript(step)
        older.executescript(
            """
            INSERT INTO objects (upload, size, part_size, name, completing, abandoned)
            VALUES ('u1', 1, 1, 'a', 1, 1), ('u2', 1, 1, 'b', 1, 0);
            PRAGMA user_version = 7;
            """
        )
    with closing(SqliteLedger.open(path)) as ledger:
        assert list(ledger.objects.all()) == [ObjectUpload("u2", 1, 1, "b", completing=True)]
