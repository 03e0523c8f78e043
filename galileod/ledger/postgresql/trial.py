"""Tries a database, and changes nothing in it: `check-config --connect`."""

from typing import Final

from galileod.ledger.contents import Contents

from . import nodes, rights, room, tables
from .connection import Address, Connection, Line
from .schema import MIGRATIONS, apply, read_version

CLOSING_SECONDS: Final = 2.0
"""Maximum seconds to wait for the connection when it is closed."""

HOSTS_SINCE: Final = 5
"""The first schema that has all that is looked for: the machine of a node."""

_BEGUN: Final = (
    "SELECT EXISTS (SELECT FROM uploads WHERE node = %s) OR EXISTS (SELECT FROM objects)"
)

_FILES: Final = "SELECT name, bytes FROM files ORDER BY name LIMIT %s"


def try_out(address: Address, name: str, count: int) -> Contents | None:
    """What the node `name` would find; at most `count` files. None if the tables are too old.

    Raises LedgerError if the tables cannot be written, or not be created if there are none. Blocks.
    """
    line = Line(address)
    try:
        with line.transaction("BEGIN") as connection, connection.transaction(force_rollback=True):
            room.check_limits(connection)
            rights.check(connection)
            contents = _try_tables(connection, name, count)
        running = () if contents is None else contents.nodes
        if name not in [node.name for node in running]:  # else it has its connections
            room.try_connections(address)
        return contents
    finally:
        line.close(CLOSING_SECONDS)


def _try_tables(connection: Connection, name: str, count: int) -> Contents | None:
    version = read_version(connection)
    if not version:
        apply(connection, 0, MIGRATIONS)
    connection.execute("UPDATE home SET text = text WHERE FALSE")
    if not version:
        return Contents()
    if version >= len(MIGRATIONS):
        tables.check(connection)
    return _look(connection, name, count) if version >= HOSTS_SINCE else None


def _look(connection: Connection, name: str, count: int) -> Contents:
    home = connection.execute("SELECT text FROM home").fetchone()
    begun = connection.execute(_BEGUN, (name,)).fetchone()
    return Contents(
        None if home is None else str(home[0]),
        nodes.running(connection),
        begun is not None and bool(begun[0]),
        dict(connection.execute(_FILES, (count,)).fetchall()),
    )
