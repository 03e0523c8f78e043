"""The folders that were made for files. They go with the last of their files."""

import json
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Final

_EMPTY: Final = (
    "SELECT path FROM folders WHERE path IN (SELECT value FROM json_each(?)) AND NOT EXISTS"
    # A zero is the character after the slash.
    " (SELECT 1 FROM files WHERE name > path || '/' AND name < path || '0')"
)


def remember(connection: sqlite3.Connection, paths: Iterable[str]) -> None:
    """Add folders that were made."""
    connection.executemany(
        "INSERT OR IGNORE INTO folders (path) VALUES (?)", [(path,) for path in paths]
    )


def take_empty(connection: sqlite3.Connection, names: Iterable[str]) -> Sequence[str]:
    """Those of the folders above files, by name, that were made and have no more files.

    They are forgotten.
    """
    above = {folder for name in names for folder in _above(name)}
    rows = connection.execute(_EMPTY, (json.dumps(sorted(above), ensure_ascii=False),)).fetchall()
    connection.executemany("DELETE FROM folders WHERE path = ?", rows)
    return [path for (path,) in rows]


def _above(name: str) -> Iterable[str]:
    folder = name.rpartition("/")[0]
    while folder:
        yield folder
        folder = folder.rpartition("/")[0]
