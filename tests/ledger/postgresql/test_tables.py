"""The tables and the rights for them are looked at by the check of the ledger."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from galileod.ledger.base import LedgerError
from galileod.ledger.postgresql import Address, PostgresqlLedger
from galileod.ledger.postgresql.connection import Connection, connect
from galileod.ledger.postgresql.tables import TABLES

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def ledger(address: Address) -> Iterator[PostgresqlLedger]:
    with closing(PostgresqlLedger.open(address)) as ledger:
        yield ledger


@pytest.fixture
def connection(address: Address, ledger: PostgresqlLedger) -> Iterator[Connection]:
    del ledger  # has made the tables
    with closing(connect(address)) as connection:
        yield connection


async def reason_of(ledger: PostgresqlLedger) -> str:
    with pytest.raises(LedgerError) as raised:
        await ledger.check()
    assert raised.value.reason == "the ledger cannot be used", "clients do not hear more"
    return str(raised.value)


def test_all_tables_are_looked_at(connection: Connection) -> None:
    rows = connection.execute(
        "SELECT relname FROM pg_stat_user_tables WHERE schemaname"
        " = current_schema() ORDER BY relname"
    )
    assert [name for (name,) in rows] == list(TABLES)


@pytest.mark.parametrize("table", TABLES)
async def test_a_table_that_is_missing_is_noticed(
    ledger: PostgresqlLedger, connection: Connection, table: str
) -> None:
    await ledger.check()
    connection.execute(f"DROP TABLE {table} CASCADE".encode())
    reason = await reason_of(ledger)
    assert table in reason
    assert "restore a backup" in reason


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("right", ["SELECT", "INSERT", "UPDATE", "DELETE"])
async def test_a_right_that_was_revoked_is_noticed(
    ledger: PostgresqlLedger, connection: Connection, table: str, right: str
) -> None:
    connection.execute(f"REVOKE {right} ON {table} FROM trusted".encode())
    reason = await reason_of(ledger)
    assert f"table {table}" in reason
    assert "own the tables" in reason or "owner of the tables" in reason
    connection.execute(f"GRANT {right} ON {table} TO trusted".encode())
    await ledger.check()


async def test_all_rights_that_are_lacking_are_named(
    ledger: PostgresqlLedger, connection: Connection
) -> None:
    connection.execute("REVOKE INSERT, DELETE ON uploads FROM trusted")
    assert (
        'the user "trusted" lacks rights for the table uploads: GRANT INSERT, DELETE ON uploads TO'
        " it, or let it own the tables"
    ) in await reason_of(ledger)


async def test_a_schema_that_the_user_may_not_use_is_noticed(
    ledger: PostgresqlLedger, connection: Connection
) -> None:
    (schema,) = connection.execute("SELECT current_schema()").fetchone() or ("",)
    connection.execute(f"REVOKE USAGE ON SCHEMA {schema} FROM trusted".encode())
    assert "lacks the right USAGE" in await reason_of(ledger)
