"""The tables in PostgreSQL: their creation, their versions, and the sums that triggers keep."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from helpers.engines.postgresql import Postgresql
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from galileod.ledger.base import LedgerError
from galileod.ledger.postgresql import schema, sums
from galileod.ledger.postgresql.connection import Address, Connection, Line
from galileod.ledger.postgresql.database import Database
from galileod.ledger.postgresql.trial import try_out

pytestmark = pytest.mark.timeout(60)

Open = Callable[..., Database]


def try_one(address: Address) -> None:
    try_out(address, "one", 1)


def version(database: Database) -> int:
    with database.reading() as connection:
        return schema.read_version(connection)


def change(patch: pytest.MonkeyPatch, statements: str, oldest: int | None = None) -> None:
    """Make this galileod a newer one, whose tables work with `oldest`, by default with this one."""
    before = schema.MIGRATIONS
    migration = schema.Migration(len(before) if oldest is None else oldest, statements)
    patch.setattr(schema, "MIGRATIONS", (*before, migration))


def test_a_new_database_gets_the_tables_of_this_version(database: Database) -> None:
    assert version(database) == len(schema.MIGRATIONS)


def test_many_processes_that_start_at_once_create_them_once(address: Address) -> None:
    opened, failed = list[Database](), list[Exception]()

    def start() -> None:
        try:
            opened.append(Database.open(address))
        except Exception as error:  # noqa: BLE001  what a thread raises is lost
            failed.append(error)

    threads = [threading.Thread(target=start) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(50)
    assert failed == []
    assert [version(database) for database in opened] == [len(schema.MIGRATIONS)] * 5
    for database in opened:
        database.close()


def test_tables_that_another_process_creates_are_seen_at_once(address: Address) -> None:
    line = Line(address)
    with line.transaction("BEGIN") as connection:
        assert schema.read_version(connection) == 0
        Database.open(address).close()
        assert schema.read_version(connection) == len(schema.MIGRATIONS)
    line.close(1)


def test_who_waits_for_another_process_says_so_and_for_a_limited_time(
    address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "WAIT_SECONDS", 0.5)
    line, steps = Line(address), list[int]()
    with line.transaction("BEGIN") as connection:
        connection.execute(f"SELECT pg_advisory_xact_lock({schema._LOCK})")
        with pytest.raises(LedgerError, match=r"has been changing the tables for 0\.5 s"):
            Database.open(address, lambda: steps.append(1))
    line.close(1)
    assert steps
    Database.open(address).close()


def test_what_a_step_raises_ends_the_start_and_nothing_is_created(
    address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(monkeypatch, "SELECT pg_sleep(20)")

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Database.open(address, stop)
    monkeypatch.undo()
    with pytest.raises(LedgerError, match="no ledger in the database yet"):
        Database.open_read_only(address)
    Database.open(address).close()


@pytest.mark.parametrize("opens", [Database.open, Database.open_read_only, try_one])
def test_tables_of_a_newer_version_are_refused_if_they_do_not_work_with_this_one(
    database: Database,
    address: Address,
    monkeypatch: pytest.MonkeyPatch,
    opens: Callable[[Address], object],
) -> None:
    mine = len(schema.MIGRATIONS)
    with monkeypatch.context() as newer:
        change(newer, "ALTER TABLE folders RENAME path TO place", oldest=mine + 1)
        Database.open(address).close()
    with pytest.raises(
        LedgerError,
        match=f"schema {mine + 1}, from a newer galileod; it works with schema {mine + 1} and newer"
        f", and this version has schema {mine}",
    ):
        opens(address)


def test_tables_of_a_newer_version_are_used_if_they_work_with_this_one(
    database: Database, address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = len(schema.MIGRATIONS)
    with monkeypatch.context() as newer:
        change(newer, "ALTER TABLE folders ADD made DOUBLE PRECISION")
        Database.open(address).close()
    Database.open(address).close()
    Database.open_read_only(address).close()
    try_one(address)
    assert version(database) == mine + 1


def test_what_one_migration_does_not_work_with_no_later_one_does(
    database: Database, address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = len(schema.MIGRATIONS)
    with monkeypatch.context() as newer:
        change(newer, "SELECT 1", oldest=mine + 1)
        change(newer, "SELECT 1", oldest=mine)
        Database.open(address).close()
        change(newer, "SELECT 1", oldest=mine)
        Database.open(address).close()
    with pytest.raises(LedgerError, match=f"works with schema {mine + 1} and newer"):
        Database.open(address)


def test_each_migration_works_with_itself_at_least() -> None:
    assert all(
        1 <= migration.oldest <= number for number, migration in enumerate(schema.MIGRATIONS, 1)
    )


def test_tables_of_an_older_version_are_brought_up_to_date_and_not_read_before(
    database: Database, address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(monkeypatch, "ALTER TABLE folders ADD made DOUBLE PRECISION")
    with pytest.raises(LedgerError, match="start galileod to bring it up to date"):
        Database.open_read_only(address)
    Database.open(address).close()
    assert version(database) == len(schema.MIGRATIONS)
    Database.open_read_only(address).close()


def test_what_is_opened_to_be_read_cannot_be_written(database: Database, address: Address) -> None:
    look = Database.open_read_only(address)
    with pytest.raises(LedgerError, match="read-only"), look.reading() as connection:
        connection.execute("DELETE FROM files")
    look.close()


def test_the_tables_may_be_in_a_schema_of_their_own(postgresql: Postgresql) -> None:
    url = postgresql.new_database()
    line = Line(Address(url))
    with line.transaction("BEGIN") as connection:
        connection.execute("CREATE SCHEMA uploads")
    database = Database.open(Address(f"{url}?options=-csearch_path%3Duploads"))
    with line.transaction("BEGIN") as connection:
        found = connection.execute(
            "SELECT DISTINCT schemaname FROM pg_tables WHERE tablename IN ('files', 'totals')"
        ).fetchall()
    assert found == [("uploads",)]
    database.close()
    line.close(1)


# The sums.

CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["add", "remove", "change", "keep", "replace"]),
        st.lists(
            st.tuples(st.integers(0, 5), st.sampled_from("ab"), st.integers(0, 99)), max_size=3
        ),
    ),
    max_size=8,
)


def summed(connection: Connection) -> dict[str, tuple[int, ...]]:
    rows = " UNION ALL ".join(
        (sums.FILE_SUMS.format(table="files"), sums.UPLOAD_SUMS.format(table="uploads"))
    )
    return {user: tuple(held) for user, *held in connection.execute(sums.by_user(rows))}


def change_rows(connection: Connection, what: str, rows: list[tuple[int, str, int]]) -> None:
    """Change many rows of both tables in one statement each."""
    numbers, users, sizes = ([row[at] for row in rows] for at in range(3))
    values: tuple[Any, ...] = ([str(one) for one in numbers], users, sizes)
    given = "unnest(%s::TEXT[], %s::TEXT[], %s::BIGINT[]) AS given (name, who, size)"
    if what in ("add", "replace"):
        for table, name in (("files", "name"), ("uploads", "upload")):
            conflict = (
                'DO UPDATE SET "user" = excluded."user", bytes = excluded.bytes'
                if what == "replace"
                else "DO NOTHING"
            )
            connection.execute(
                f'INSERT INTO {table} ({name}, "user", bytes)'
                f" SELECT DISTINCT ON (name) name, who, size FROM {given}"
                f" ON CONFLICT ({name}) {conflict}",
                values,
            )
    elif what == "remove":
        connection.execute("DELETE FROM files WHERE name = ANY(%s)", values[:1])
        connection.execute("DELETE FROM uploads WHERE upload = ANY(%s)", values[:1])
    elif what == "change":
        connection.execute(
            f"UPDATE files SET bytes = size FROM {given} WHERE files.name = given.name", values
        )
    else:
        connection.execute(
            'UPDATE uploads SET "offset" = CASE WHEN "offset" IS NULL THEN size END'
            f" FROM {given} WHERE upload = given.name",
            values,
        )


@given(changes=CHANGES)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_sums_are_those_of_the_rows_whatever_is_changed(
    database: Database, changes: list[tuple[str, list[tuple[int, str, int]]]]
) -> None:
    with database.transaction() as connection:
        for what, rows in changes:
            change_rows(connection, what, rows)
        expected = summed(connection)
        held = {
            user: tuple(one)
            for user, *one in connection.execute(f'SELECT "user", {sums.NAMED} FROM holdings')
        }
        assert held == expected
        total = connection.execute(f"SELECT {sums.NAMED} FROM totals").fetchall()
        everything = [sum(column) for column in zip(*expected.values(), strict=True)] or [0] * 6
        assert total == [tuple(everything)]


def test_users_who_hold_nothing_any_more_are_forgotten(database: Database) -> None:
    with database.transaction() as connection:
        connection.execute(
            'INSERT INTO uploads (upload, "user", bytes)'
            " SELECT n::TEXT, 'address ' || n, n % 2 FROM generate_series(1, 40) AS n"
        )
        connection.execute("INSERT INTO files (name, \"user\", bytes) VALUES ('a', 'address 1', 0)")
        connection.execute("DELETE FROM uploads WHERE upload <> '2'")
        users = connection.execute('SELECT "user", files, uploads FROM holdings ORDER BY 1')
        assert users.fetchall() == [("address 1", 1, 0), ("address 2", 0, 1)]


def test_many_rows_are_counted_once_for_each_statement(database: Database) -> None:
    with database.transaction() as connection:
        connection.execute(
            'INSERT INTO files (name, "user", bytes)'
            " SELECT number::TEXT, 'anna', 1 FROM generate_series(1, 20000) AS number"
        )
        total = connection.execute("SELECT bytes, files FROM totals").fetchone()
        assert total == (20000, 20000)
        connection.execute("UPDATE files SET bytes = 2")
        connection.execute("DELETE FROM files")
        assert connection.execute("SELECT bytes, files FROM totals").fetchone() == (0, 0)
