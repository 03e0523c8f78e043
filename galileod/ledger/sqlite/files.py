"""The stored files and their owners."""

import sqlite3
from collections.abc import Mapping, Sequence

from galileod.ledger.base import UNKNOWN_USER


def enter(connection: sqlite3.Connection, files: Sequence[tuple[str, str, int]]) -> None:
    """Add files by name, user and size, or replace the entries of those names, in this order."""
    connection.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?)", files)


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
    changed = list[tuple[str, str, int]]()
    for name, size in on_disk.items():
        user, known = entered.get(name, (UNKNOWN_USER, None))
        if size != known:
            changed.append((name, user, size))
    enter(connection, changed)
    return sum(name not in entered for name in on_disk)
