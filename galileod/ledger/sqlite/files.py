"""The stored files and their owners."""

import sqlite3
from collections.abc import Mapping

from galileod.ledger.base import UNKNOWN_USER


def enter(connection: sqlite3.Connection, name: str, user: str, size: int) -> None:
    """Add a file, or replace the entry of that name."""
    connection.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?)", (name, user, size))


def reconcile(connection: sqlite3.Connection, on_disk: Mapping[str, int]) -> None:
    """Make the table agree with the sizes in `on_disk`."""
    entered = {
        name: (user, size)
        for name, user, size in connection.execute("SELECT name, user, bytes FROM files")
    }
    gone = [(name,) for name in entered if name not in on_disk]
    connection.executemany("DELETE FROM files WHERE name = ?", gone)
    for name, size in on_disk.items():
        user, known = entered.get(name, (UNKNOWN_USER, None))
        if size != known:
            enter(connection, name, user, size)
