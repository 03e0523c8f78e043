"""Roles beside that of galileod, and what they may do in its database."""

from collections.abc import Callable
from typing import LiteralString
from uuid import uuid4

import psycopg
import pytest
from helpers.engines.postgresql import Postgresql
from helpers.ledger_nodes import LedgerNodes
from helpers.ledgers import allow
from psycopg.sql import SQL, Identifier

from galileod.ledger.base import LedgerError
from galileod.ledger.postgresql import Address, PostgresqlLedger
from galileod.ledger.postgresql.trial import try_out
from galileod.ledger.unavailable import UnavailableError

pytestmark = pytest.mark.timeout(60)

USES: dict[str, Callable[[Address], object]] = {
    "start": lambda address: PostgresqlLedger.open(address).close(),
    "trial": lambda address: try_out(address, "n1", 1),
}


@pytest.fixture
def url(postgresql: Postgresql) -> str:
    return postgresql.new_database()


@pytest.fixture
def execute(postgresql: Postgresql, url: str) -> Callable[[LiteralString], None]:
    """Executes statements of the administrator, in which {0} is a role that is new."""
    stranger = f"stranger_{uuid4().hex}"
    postgresql.execute(SQL("CREATE ROLE {} LOGIN").format(Identifier(stranger)))

    def run(statement: LiteralString) -> None:
        made = SQL(statement).format(Identifier(stranger))
        postgresql.execute(made, url.rpartition("/")[2])

    return run


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("to", ["PUBLIC", "{0}"])
def test_a_schema_in_which_others_may_create_is_refused(
    url: str, execute: Callable[[LiteralString], None], to: LiteralString, use: str
) -> None:
    execute("GRANT CREATE ON SCHEMA public TO " + to)
    with pytest.raises(LedgerError, match="the schema public") as raised:
        USES[use](Address(url))
    assert not isinstance(raised.value, UnavailableError)
    role = "PUBLIC" if to == "PUBLIC" else "stranger_"
    assert f": REVOKE CREATE ON SCHEMA public FROM {role}" in str(raised.value)
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT to_regclass('galileod_schema')").fetchone() == (None,)
    execute("REVOKE CREATE ON SCHEMA public FROM " + to)
    USES[use](Address(url))


def test_all_of_them_are_named(url: str, execute: Callable[[LiteralString], None]) -> None:
    execute("GRANT CREATE ON SCHEMA public TO PUBLIC; GRANT CREATE ON SCHEMA public TO {0}")
    with pytest.raises(LedgerError, match=r"FROM stranger_\w+, PUBLIC, or"):
        USES["start"](Address(url))


@pytest.mark.parametrize(
    "grant",
    [
        "ALTER ROLE {0} SUPERUSER; GRANT CREATE ON SCHEMA public TO {0}",
        "GRANT {0} TO trusted; GRANT CREATE ON SCHEMA public TO {0}",
        "ALTER SCHEMA public OWNER TO {0}; GRANT CREATE, USAGE ON SCHEMA public TO trusted",
        "GRANT CREATE ON SCHEMA public TO trusted",
    ],
)
def test_administrators_owners_and_roles_of_galileod_may_create(
    url: str, execute: Callable[[LiteralString], None], grant: LiteralString
) -> None:
    execute(grant)
    for use in USES.values():
        use(Address(url))


def test_the_owner_of_the_database_may_create(
    postgresql: Postgresql, execute: Callable[[LiteralString], None], url: str
) -> None:
    execute("ALTER DATABASE " + url.rpartition("/")[2] + " OWNER TO {0}")
    execute("ALTER SCHEMA public OWNER TO postgres; GRANT CREATE ON SCHEMA public TO {0}, trusted")
    for use in USES.values():
        use(Address(url))


async def test_functions_of_other_schemas_are_not_called(
    url: str, execute: Callable[[LiteralString], None]
) -> None:
    execute(
        "CREATE SCHEMA own AUTHORIZATION trusted; CREATE SCHEMA shared;"
        " GRANT ALL ON SCHEMA shared TO PUBLIC"
    )
    execute(
        "SET ROLE {0}; CREATE FUNCTION shared.check_fence(INTEGER, BOOLEAN) RETURNS VOID"
        " LANGUAGE plpgsql AS $$ BEGIN RAISE 'called'; END $$"
    )
    nodes = LedgerNodes(f"{url}?options=-csearch_path%3Down,shared")
    with nodes.opened:
        ledger = nodes.start("one")
        await ledger.reserve("u1", "anna", 5, allow)
        await ledger.commit("u1", "a")
        assert set(await ledger.entries(["a"])) == {"a"}


def test_the_tables_are_found_behind_a_schema_that_was_made_later(
    url: str, execute: Callable[[LiteralString], None]
) -> None:
    PostgresqlLedger.open(Address(url)).close()
    execute("CREATE SCHEMA trusted AUTHORIZATION trusted")
    PostgresqlLedger.open(Address(url)).close()
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT schemaname FROM pg_tables WHERE tablename = 'files'")
        assert found.fetchall() == [("public",)]
