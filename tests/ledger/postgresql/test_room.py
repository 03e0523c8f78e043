"""The connections that a node needs, and servers that do not allow so many."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import psycopg
import pytest
from helpers.engines.postgresql import Postgresql
from helpers.pooler import Pooler
from psycopg.sql import SQL, Identifier

from galileod.ledger.base import LedgerError
from galileod.ledger.node import Me
from galileod.ledger.postgresql import Address, PostgresqlLedger
from galileod.ledger.postgresql.room import CONNECTIONS
from galileod.ledger.postgresql.trial import try_out
from galileod.ledger.unavailable import UnavailableError

pytestmark = pytest.mark.timeout(60)

ME = Me("n1", "1", "1.0", local=True)


def open_(url: str) -> None:
    PostgresqlLedger.open(Address(url), me=ME).close()


def name_of(url: str) -> str:
    return url.rpartition("/")[2]


def limit(postgresql: Postgresql, url: str, number: int) -> None:
    alter = SQL("ALTER DATABASE {} CONNECTION LIMIT {}")
    postgresql.execute(alter.format(Identifier(name_of(url)), number))


@contextmanager
def others(url: str, number: int) -> Iterator[None]:
    """Connections of other programs to the database."""
    made = [psycopg.connect(url) for _ in range(number)]
    yield
    for one in made:
        one.close()


def process(connection: psycopg.Connection[tuple[object, ...]]) -> object:
    (number,) = connection.execute("SELECT pg_backend_pid()").fetchone() or (None,)
    connection.commit()
    return number


@pytest.mark.parametrize("number", [1, CONNECTIONS - 1])
def test_a_database_that_allows_too_few_connections_for_ever_is_not_waited_for(
    postgresql: Postgresql, number: int
) -> None:
    uses: list[Callable[[str], object]] = [open_, lambda url: try_out(Address(url), "n1", 1)]
    for use in uses:
        url = postgresql.new_database()  # the server may still count a connection that was closed
        limit(postgresql, url, number)
        with pytest.raises(LedgerError, match="the database allows too few connections") as raised:
            use(url)
        assert not isinstance(raised.value, UnavailableError)
        assert f": {number}, but each galileod needs 6: ALTER DATABASE" in str(raised.value)


def test_a_user_who_is_allowed_too_few_connections_is_named(postgresql: Postgresql) -> None:
    url = postgresql.new_database(user="postgres").replace("trusted@", "few@")
    postgresql.execute("CREATE ROLE few LOGIN CONNECTION LIMIT 2")
    local = f"{postgresql.local(name_of(url)).replace('postgres@', 'few@')}"
    with pytest.raises(LedgerError, match="ALTER ROLE few CONNECTION LIMIT 6"):
        open_(local)


def test_a_trial_finds_that_others_leave_too_few_connections_for_a_node(
    postgresql: Postgresql,
) -> None:
    url = postgresql.new_database()
    limit(postgresql, url, CONNECTIONS + 2)
    try_out(Address(url), "n1", 1)
    with others(url, 3), pytest.raises(UnavailableError) as raised:
        try_out(Address(url), "n1", 1)
    assert "; the database has a limit of its own" in str(raised.value)
    assert "max_connections" not in str(raised.value)


def test_a_trial_makes_no_further_connections_for_a_node_that_runs(postgresql: Postgresql) -> None:
    url = postgresql.new_database()
    limit(postgresql, url, CONNECTIONS + 1)
    ledger = PostgresqlLedger.open(Address(url), me=ME)
    try:
        try_out(Address(url), "n1", 1)
        with pytest.raises(UnavailableError, match="too many connections for database"):
            try_out(Address(url), "n2", 1)
    finally:
        ledger.close()


def test_a_server_without_tls_that_is_asked_for_it_is_not_waited_for(
    postgresql: Postgresql,
) -> None:
    with pytest.raises(LedgerError, match="does not support SSL, but SSL was required") as raised:
        open_(f"{postgresql.new_database()}?sslmode=require")
    assert not isinstance(raised.value, UnavailableError)


@pytest.mark.parametrize("use", ["start", "trial"])
def test_a_pooler_that_changes_the_session_with_each_transaction_is_refused(
    postgresql: Postgresql, use: str
) -> None:
    url = postgresql.new_database()
    with Pooler.running(urlsplit(url).port or 0) as pooler:
        pooled = url.replace(f":{urlsplit(url).port}/", f":{pooler.port}/")
        with psycopg.connect(pooled) as one, psycopg.connect(pooled) as other:
            assert process(one) == process(other)
        with pytest.raises(LedgerError, match="set pool_mode = session") as raised:
            open_(pooled) if use == "start" else try_out(Address(pooled), "n1", 1)
    assert not isinstance(raised.value, UnavailableError)
