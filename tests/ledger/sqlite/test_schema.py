"""Files of older and newer versions, and files that are opened to read them."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from helpers.ledgers import allow, keep

from galileod.ledger.base import LedgerError
from galileod.ledger.sqlite import SqliteLedger, quota
from galileod.policy.quota import Holding

RECEIPT = '{"id": "1"}'


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "ledger.sqlite3")


def load(connection: sqlite3.Connection, schema: int) -> None:
    """Fill an empty file with what a galileod of that schema left behind."""
    connection.executescript(Path(__file__).with_name(f"schema_{schema}.sql").read_text())


async def owed(ledger: SqliteLedger) -> list[tuple[str, str, int]]:
    return [(one.name, one.receipt, one.attempts) for one in await ledger.outbox.first(100)]


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


async def test_kept_uploads_are_seen_by_whoever_only_looks(path: str) -> None:
    ledger = SqliteLedger.open(path)
    await keep(ledger, "u1")
    look = SqliteLedger.open_read_only(path)
    assert look.holdings() == {"anna": Holding(kept=40, kept_uploads=1)}
    look.close()
    ledger.close()
