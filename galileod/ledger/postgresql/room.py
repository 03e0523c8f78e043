"""The connections that a process needs, and whether the server allows so many."""

from contextlib import ExitStack
from typing import Final

from galileod.ledger.base import LedgerError

from .connection import Address, Connection, connect

CONNECTIONS: Final = 6
"""Those of one process: two that write, two that read, one for the lease, and one that listens."""

_LIMITS: Final = (
    "SELECT datconnlimit, rolconnlimit FROM pg_database, pg_roles"
    " WHERE datname = current_database() AND rolname = session_user AND NOT rolsuper"
)

_STATEMENTS: Final = ("ALTER DATABASE {database}", "ALTER ROLE {user}")


def check_limits(connection: Connection) -> None:
    """Raise LedgerError if the database, or its user, may never have so many connections."""
    row = connection.execute(_LIMITS).fetchone() or ()
    for limit, alter in zip(row, _STATEMENTS, strict=False):
        if 0 <= limit < CONNECTIONS:
            named = alter.format(database=connection.info.dbname, user=connection.info.user)
            raise LedgerError(
                "the database allows too few connections",
                f": {limit}, but each galileod needs {CONNECTIONS}: {named} CONNECTION LIMIT"
                f" {CONNECTIONS} for one, more for several",
            )


def try_connections(address: Address) -> None:
    """Make the connections of a process beside one that is there. Blocks; raises LedgerError."""
    with ExitStack() as made:
        for _ in range(CONNECTIONS - 1):
            made.callback(connect(address).close)
