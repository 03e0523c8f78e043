"""A ledger in a database for which an administrator has set what programs do not expect."""

from collections.abc import Iterator
from contextlib import closing

import pytest
from helpers.clocks import FakeClock
from helpers.engines.postgresql import Postgresql
from helpers.ledgers import allow
from psycopg.sql import SQL, Identifier, Literal

from galileod.ledger.base import Ledger
from galileod.ledger.postgresql import Address, PostgresqlLedger
from galileod.ledger.postgresql.connection import connect
from galileod.ledger.records import Removal

pytestmark = pytest.mark.timeout(60)

CARELESS = {
    "extra_float_digits": "-15",
    "array_nulls": "off",
    "standard_conforming_strings": "off",
    "transform_null_equals": "on",
    "bytea_output": "escape",
    "datestyle": "German",
    "intervalstyle": "sql_standard",
    "timezone": "Asia/Kathmandu",
    "default_transaction_isolation": "serializable",
    "statement_timeout": "900ms",
    "lock_timeout": "900ms",
    "idle_in_transaction_session_timeout": "900ms",
    "idle_session_timeout": "900ms",
}

TIME = 1_700_000_000.123457
"""A time with as many digits as a double has."""


@pytest.fixture
def address(postgresql: Postgresql) -> Address:
    url = postgresql.new_database()
    for name, value in CARELESS.items():
        alter = SQL("ALTER DATABASE {} SET {} = {}")
        database = Identifier(url.rpartition("/")[2])
        postgresql.execute(alter.format(database, Identifier(name), Literal(value)))
    return Address(url)


@pytest.fixture
def ledger(address: Address, clock: FakeClock) -> Iterator[Ledger]:
    clock.now = TIME
    with closing(PostgresqlLedger.open(address, clock)) as ledger:
        yield ledger


async def test_a_record_is_dropped_with_its_file(ledger: Ledger) -> None:
    await ledger.reserve("u1", "anna", 5, allow)
    await ledger.commit("u1", "a")
    entries = await ledger.entries(["a"])
    assert entries["a"].stored == TIME
    await ledger.remove_files([Removal(entries["a"])])
    assert await ledger.entries(["a"]) == {}


async def test_a_file_without_a_time_gets_its_new_size(ledger: Ledger) -> None:
    await ledger.enter_found([("a", 5)])
    (entry,) = (await ledger.entries(["a"])).values()
    assert entry.stored is None
    assert await ledger.resize_files([(entry, 6)]) == 1


@pytest.mark.parametrize("name", [name for name in CARELESS if name.endswith("_timeout")])
def test_the_limits_of_a_session_are_those_of_galileod(address: Address, name: str) -> None:
    with closing(connect(address)) as connection:
        (limit,) = connection.execute("SELECT current_setting(%s)", (name,)).fetchone() or ("",)
    assert limit in ("0", "4s", "8s")
