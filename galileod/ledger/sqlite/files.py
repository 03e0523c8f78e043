"""The stored files and their owners."""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Final

from galileod.ledger.base import UNKNOWN_USER

_AT_ONCE: Final = 1000
"""Maximum files that one statement enters: as JSON, they take some 100 kB."""


def enter(connection: sqlite3.Connection, files: Sequence[tuple[str, str, int]]) -> None:
    """Add files by name, user and size, or replace the entries of those names, in this order."""
    connection.execute(
        "INSERT OR REPLACE INTO files SELECT json_extract(value, '$[0]'),"
        " json_extract(value, '$[1]'), json_extract(value, '$[2]') FROM json_each(?)",
        (json.dumps(files, ensure_ascii=False),),
    )


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
    for first in range(0, len(changed), _AT_ONCE):
        enter(connection, changed[first : first + _AT_ONCE])
    return sum(name not in entered for name in on_disk)
