"""The connections that a process needs: whether the server allows so many, and keeps them apart."""

from collections.abc import Sequence
from contextlib import ExitStack, closing
from typing import Final

from galileod.ledger.base import LedgerError

from .connection import Address, Connection, connect
from .errors import translated

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


def process_of(connection: Connection) -> int:
    """The process of the server that executes what is sent now. Raises LedgerError."""
    with translated():
        row = connection.execute("SELECT pg_backend_pid()").fetchone()
    if row is None:
        raise LedgerError("the server does not tell its process")
    return int(row[0])


def check_sessions(processes: Sequence[int]) -> None:
    """Raise LedgerError if connections that are open together have a process in common.

    `processes` are theirs, asked for one after the other: a pooler that gives each transaction the
    process that was used last has the same one for all.
    """
    if len(set(processes)) < len(processes):
        raise LedgerError(
            "the database cannot be used",
            ": its connections are no sessions, as through a pooler with pool_mode = transaction:"
            " set pool_mode = session, or name the server itself in ledger.url",
        )


def try_connections(address: Address) -> None:
    """Make the connections of a process beside one that is there. Blocks; raises LedgerError."""
    with ExitStack() as made:
        connections = [
            made.enter_context(closing(connect(address))) for _ in range(CONNECTIONS - 1)
        ]
        check_sessions([process_of(one) for one in connections])
