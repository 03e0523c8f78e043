"""A ledger in PostgreSQL for each test."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import pytest
from helpers.clocks import FakeClock

from galileod.ledger.base import Ledger
from galileod.ledger.postgresql import PostgresqlLedger
from galileod.ledger.postgresql.connection import Address
from galileod.ledger.postgresql.database import Database

Open = Callable[..., Database]


@pytest.fixture
def address(ledger_url: str) -> Address:
    """Where a ledger can be."""
    return Address(ledger_url)


@pytest.fixture
def open_database(address: Address) -> Iterator[Open]:
    """Opens the test's database, or another one."""
    with ExitStack() as opened:

        def start(at: Address = address) -> Database:
            database = Database.open(at)
            opened.callback(database.close)
            return database

        yield start


@pytest.fixture
def database(open_database: Open) -> Database:
    return open_database()


@pytest.fixture
def nodes(address: Address, clock: FakeClock) -> Iterator[tuple[Ledger, Ledger]]:
    with (
        closing(PostgresqlLedger.open(address, clock)) as one,
        closing(PostgresqlLedger.open(address, clock)) as other,
    ):
        yield one, other
