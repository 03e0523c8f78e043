"""Lists of files, read in pages: each reads a limited number of rows of an index.

A cursor is the JSON text of where the page before has ended.
"""

import json
from collections.abc import Sequence
from typing import Any, Final

from galileod.ledger.records import FileEntry, Selection

from .connection import Connection
from .files import COLUMNS, entry

_FIRST_ROW: Final = 0
"""Less than each number of a row."""

_EARLIEST: Final = 0.0
"""Earlier than each time, in seconds since the epoch."""

_NEVER: Final = float("inf")

_SELECT: Final = f"SELECT {COLUMNS}, files.number FROM files WHERE "  # noqa: S608  it is constant

_BY_NAME: Final = f"{_SELECT}name > %s ORDER BY name LIMIT %s"

_BY_PLACE: Final = (
    f'{_SELECT}"user" = %s AND (place, number) > (%s, %s) ORDER BY place, number LIMIT %s'
)

_EXPIRING: Final = (
    f"{_SELECT}expires IS NOT NULL AND (expires, number) > (%s, %s) AND expires <= %s"
    " ORDER BY expires, number LIMIT %s"
)

_BY_TIME: Final = (
    " AND (stored, number) > (%s, %s) AND stored <= %s ORDER BY stored, number LIMIT %s"
)

_DEFAULT: Final = f"{_SELECT}expires IS NULL{_BY_TIME}"
_OWN: Final = f"{_SELECT}expires IS NOT NULL{_BY_TIME}"
"""By time, without and with a retention of their own; each has an index."""

Page = tuple[Sequence[FileEntry], str | None]


def page(connection: Connection, selection: Selection, cursor: str, count: int) -> Page:
    """The files of the next `count` rows that are selected. See `Records.files_from`."""
    if selection.user is not None:
        return _of_user(connection, selection, cursor, count)
    if selection.since is not None or selection.until is not None:
        return _of_time(connection, selection, cursor, count)
    after = json.loads(cursor) if cursor else ""
    entries, last = _read(connection, _BY_NAME, after, count)
    return entries, None if last is None else json.dumps(entries[-1].name)


def expired(
    connection: Connection, retention: float | None, cursor: str, count: int, now: float
) -> Page:
    """The next `count` files whose time is over. See `Records.expired`."""
    start = retention is None, _EARLIEST, _FIRST_ROW
    own, time, row = json.loads(cursor) if cursor else start
    if own or retention is None:
        entries, last = _read(connection, _EXPIRING, time, row, now, count)
        return entries, None if last is None else json.dumps([True, entries[-1].expires, last])
    entries, last = _read(connection, _DEFAULT, time, row, now - retention, count)
    if last is None:
        return entries, json.dumps([True, _EARLIEST, _FIRST_ROW])
    return entries, json.dumps([False, entries[-1].stored, last])


def _of_user(connection: Connection, selection: Selection, cursor: str, count: int) -> Page:
    place, row = json.loads(cursor) if cursor else ("", _FIRST_ROW)
    entries, last = _read(connection, _BY_PLACE, selection.user, place, row, count)
    following = None if last is None else json.dumps([entries[-1].place or "", last])
    return [each for each in entries if _is_of_time(each, selection)], following


def _of_time(connection: Connection, selection: Selection, cursor: str, count: int) -> Page:
    since = max(_EARLIEST, selection.since or 0)
    until = _NEVER if selection.until is None else selection.until
    own, time, row = json.loads(cursor) if cursor else (False, since, _FIRST_ROW)
    entries, last = _read(connection, _OWN if own else _DEFAULT, time, row, until, count)
    following = None
    if last is not None:
        following = json.dumps([own, entries[-1].stored, last])
    elif not own:
        following = json.dumps([True, since, _FIRST_ROW])
    return [each for each in entries if _is_of_time(each, selection)], following


def _read(
    connection: Connection,
    query: str,
    *parameters: Any,  # noqa: ANN401
) -> tuple[list[FileEntry], int | None]:
    """The files of a query, and the number of the last row if there may be more.

    The last parameter is the maximum.
    """
    rows = connection.execute(query, parameters).fetchall()
    entries = [entry(row[:-1]) for row in rows]
    return entries, rows[-1][-1] if len(rows) == parameters[-1] else None


def _is_of_time(entry: FileEntry, selection: Selection) -> bool:
    if selection.since is None and selection.until is None:
        return True
    since, until = selection.since or 0, selection.until
    return entry.stored is not None and (
        since <= entry.stored and (until is None or entry.stored < until)
    )
