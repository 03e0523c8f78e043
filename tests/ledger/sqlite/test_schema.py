"""Files of older and newer versions, and files that are opened to read them."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from helpers.ledgers import allow

from galileod.ledger.base import LedgerError
from galileod.ledger.sqlite import SqliteLedger
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


def test_whoever_only_looks_leaves_a_ledger_of_the_first_schema_as_it_is(path: str) -> None:
    with closing(sqlite3.connect(path)) as older:
        older.execute("PRAGMA journal_mode = WAL")
        load(older, 1)
        before = list(older.iterdump())
        ledger = SqliteLedger.open_read_only(path)
        assert ledger.holdings() == {
            "anna": Holding(bytes=100, files=1),
            "bert": Holding(reserved=30, uploads=1),
        }
        with (
            pytest.raises(LedgerError, match="readonly"),
            ledger.database.transaction() as connection,
        ):
            connection.execute("DELETE FROM files")
        ledger.close()
        assert list(older.iterdump()) == before
        assert older.execute("PRAGMA user_version").fetchone() == (1,)
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
    await ledger.promise("u2", "7", RECEIPT)
    await ledger.commit("u2", "b.txt")
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


@pytest.mark.parametrize(
    ("identity", "stored"),
    [
        ("4711", 4711),
        ("0", 0),
        (str(2**63 - 1), 2**63 - 1),
        (str(2**63), str(2**63).encode()),
        ("007", b"007"),
        ("-0", b"-0"),
        ("\u0661", "\u0661".encode()),  # a digit, but not of ASCII
        ("bucket/key", b"bucket/key"),
    ],
)
async def test_an_inode_is_stored_as_a_number_which_the_version_before_looks_for(
    path: str, identity: str, stored: int | bytes
) -> None:
    # The schema is the same, so that version opens the ledger, after a crash of this one too.
    ledger = SqliteLedger.open(path)
    await ledger.reserve("u1", "anna", 100, allow)
    await ledger.promise("u1", identity, RECEIPT)
    ledger.close()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT inode FROM uploads").fetchone() == (stored,)
    ledger = SqliteLedger.open(path)
    assert list(ledger.promised()) == [identity]
    ledger.reconcile({"a.txt": 100}, {identity: "a.txt"})
    assert await owed(ledger) == [("a.txt", RECEIPT, 0)]
    ledger.close()
