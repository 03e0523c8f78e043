"""Lists of files, read in pages: each reads a limited number of rows of an index.

A cursor is the JSON text of where the page before has ended.
"""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any, Final

from galileod.ledger.records import FileEntry, Selection

from .files import COLUMNS, entry

_FIRST_ROW: Final = -1
"""Less than each rowid."""

_DATED: Final = 1.0
"""The earliest time of a file that has one: 0 is that of one which an older version has entered."""

_NEVER: Final = float("inf")

_SELECT: Final = f"SELECT {COLUMNS}, files.rowid FROM files WHERE "  # noqa: S608  it is constant

_BY_NAME: Final = f"{_SELECT}name > ? ORDER BY name LIMIT ?"

Page = tuple[Sequence[FileEntry], str | None]


def page(connection: sqlite3.Connection, selection: Selection, cursor: str, count: int) -> Page:
    """The files of the next `count` rows that are selected. See `Records.files_from`."""
    if selection.user is not None:
        return _of_user(connection, selection, cursor, count)
    if selection.since is not None or selection.until is not None:
        return _of_time(connection, selection, cursor, count)
    after = json.loads(cursor) if cursor else ""
    rows = connection.execute(_BY_NAME, (after, count)).fetchall()
    entries = _entries(rows)
    return entries, json.dumps(entries[-1].name) if len(rows) == count else None


def pages(connection: sqlite3.Connection, selection: Selection, count: int) -> Iterator[FileEntry]:
    """All files of a selection, `count` rows at a time."""
    cursor: str | None = ""
    while cursor is not None:
        entries, cursor = page(connection, selection, cursor, count)
        yield from entries


def expired(
    connection: sqlite3.Connection, retention: float | None, cursor: str, count: int, now: float
) -> Page:
    """The next `count` files whose time is over. See `Records.expired`."""
    own, time, row = json.loads(cursor) if cursor else (retention is None, _DATED, _FIRST_ROW)
    if own or retention is None:
        rows = _after(connection, "expires IS NOT NULL", "expires", (time, row), now, count)
        entries = _entries(rows)
        if len(rows) < count:
            return entries, None
        return entries, json.dumps([True, entries[-1].expires, rows[-1][-1]])
    rows = _after(connection, _DEFAULT, "stored", (time, row), now - retention, count)
    entries = _entries(rows)
    if len(rows) < count:
        return entries, json.dumps([True, _DATED, _FIRST_ROW])
    return entries, json.dumps([False, entries[-1].stored, rows[-1][-1]])


def _of_user(connection: sqlite3.Connection, selection: Selection, cursor: str, count: int) -> Page:
    at = json.loads(cursor) if cursor else ("", _FIRST_ROW)
    rows = _after(connection, "user = ?", "place", at, None, count, (selection.user,))
    entries = _entries(rows)
    following = None
    if len(rows) == count:
        following = json.dumps([entries[-1].place or "", rows[-1][-1]])
    return [each for each in entries if _is_of_time(each, selection)], following


_DEFAULT: Final = "(expires IS NOT NULL) = 0"
_OWN: Final = "(expires IS NOT NULL) = 1"
"""The parts of the index `files_by_time`: without and with a retention of their own."""


def _of_time(connection: sqlite3.Connection, selection: Selection, cursor: str, count: int) -> Page:
    since = max(_DATED, selection.since or 0)
    until = _NEVER if selection.until is None else selection.until
    own, time, row = json.loads(cursor) if cursor else (False, since, _FIRST_ROW)
    rows = _after(connection, _OWN if own else _DEFAULT, "stored", (time, row), until, count)
    entries = _entries(rows)
    following = None
    if len(rows) == count:
        following = json.dumps([own, entries[-1].stored, rows[-1][-1]])
    elif not own:
        following = json.dumps([True, since, _FIRST_ROW])
    return [each for each in entries if _is_of_time(each, selection)], following


def _after(
    connection: sqlite3.Connection,
    where: str,
    column: str,
    after: tuple[object, int],
    latest: float | None,
    count: int,
    parameters: Sequence[object] = (),
) -> list[Sequence[Any]]:
    """The next `count` rows in the order of a column and of their ids; `latest` is its maximum.

    SQLite uses no index for the comparison of a pair of which the second is the id.
    """
    value, row = after
    upper, last = ("", ()) if latest is None else (f" AND {column} <= ?", (latest,))
    rows = connection.execute(
        f"{_SELECT}{where} AND {column} = ? AND rowid > ?{upper} ORDER BY rowid LIMIT ?",
        (*parameters, value, row, *last, count),
    ).fetchall()
    if len(rows) < count:
        rows += connection.execute(
            f"{_SELECT}{where} AND {column} > ?{upper} ORDER BY {column}, rowid LIMIT ?",
            (*parameters, value, *last, count - len(rows)),
        ).fetchall()
    return rows


def _is_of_time(entry: FileEntry, selection: Selection) -> bool:
    if selection.since is None and selection.until is None:
        return True
    since, until = selection.since or 0, selection.until
    return entry.stored is not None and (
        since <= entry.stored and (until is None or entry.stored < until)
    )


def _entries(rows: Sequence[Sequence[Any]]) -> list[FileEntry]:
    return [entry(row[:-1]) for row in rows]
