"""The folders that were made for files. They go with the last of their files."""

from collections.abc import Iterable, Sequence
from typing import Final

from .connection import Connection

_REMEMBER: Final = (
    "INSERT INTO folders (path) SELECT unnest(%s::text[]) ON CONFLICT (path) DO NOTHING"
)

_TAKE_EMPTY: Final = (
    "DELETE FROM folders WHERE path = ANY(%s::text[]) AND NOT EXISTS"
    # A zero is the character after the slash.
    " (SELECT 1 FROM files WHERE name > path || '/' AND name < path || '0') RETURNING path"
)


def remember(connection: Connection, paths: Iterable[str]) -> None:
    """Add folders that were made."""
    made = list(paths)
    if made:
        connection.execute(_REMEMBER, (made,))


def take_empty(connection: Connection, names: Iterable[str]) -> Sequence[str]:
    """Those of the folders above files, by name, that were made and have no more files.

    They are forgotten.
    """
    above = {folder for name in names for folder in _above(name)}
    rows = connection.execute(_TAKE_EMPTY, (sorted(above),)) if above else ()
    return [path for (path,) in rows]


def _above(name: str) -> Iterable[str]:
    folder = name.rpartition("/")[0]
    while folder:
        yield folder
        folder = folder.rpartition("/")[0]
