"""The stored files and their owners."""

import sqlite3
from collections.abc import Mapping

from galileod.ledger.base import UNKNOWN_USER


def enter(connection: sqlite3.Connection, name: str, user: str, size: int) -> None:
    """Add a file, or replace the entry of that name."""
    connection.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?)", (name, user, size))


def is_empty(connection: sqlite3.Connection) -> bool:
    """Whether there is no file in the ledger."""
    return connection.execute("SELECT 1 FROM files").fetchone() is None


def reconcile(connection: sqlite3.Connection, on_disk: Mapping[str, int]) -> int:
    """Make the table agree with the sizes in `on_disk`; returns how many files were not in it."""
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
    return sum(name not in entered for name in on_disk)
