"""The stored files and their owners."""

import json
import sqlite3
from collections import deque
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any, Final

from galileod.ledger.base import UNKNOWN_USER
from galileod.ledger.records import CANDIDATES, Commit, FileEntry, Wanted

from . import folders

_AT_ONCE: Final = 1000
"""Maximum files that one statement changes: as JSON, they take some 100 kB."""

_ENTER: Final = (
    "INSERT OR REPLACE INTO files (name, user, bytes, sha1, stored, sent, folder, place, modified,"
    " upload, expires, ticket, meta) SELECT json_extract(value, '$[1]'), user, bytes,"
    " coalesce(json_extract(value, '$[2]'), sha1), ?2, sent, folder, coalesce(place, ''), modified,"
    " upload, ?2 + retention, ticket, meta"
    # In this order, so that the last of two files with the same name remains.
    " FROM json_each(?1) CROSS JOIN uploads ON upload = json_extract(value, '$[0]')"
)

COLUMNS: Final = (
    "files.name, files.user, files.bytes, files.sha1, nullif(files.stored, 0), files.sent,"
    " files.folder, nullif(files.place, ''), files.modified, files.upload, files.expires,"
    " files.ticket, files.meta"
)
"""The attributes of a FileEntry, in their order."""

_SELECT: Final = f"SELECT {COLUMNS}"

_OF_NAMES: Final = (
    f"{_SELECT} FROM files"  # noqa: S608  it is constant
    " WHERE name IN (SELECT value FROM json_each(?))"
)

_CLAIMED: Final = "SELECT name FROM objects WHERE name IN (SELECT value FROM json_each(?))"

_EXACTLY: Final = (
    " WHERE name = ? AND user = ? AND bytes = ? AND stored IS ? AND upload IS ? AND expires IS ?"
)

_REMOVE: Final = f"DELETE FROM files{_EXACTLY}"  # noqa: S608  it is constant

_RESIZE: Final = (
    "UPDATE files SET bytes = ?, sha1 = NULL, stored = NULL, modified = NULL, expires = NULL"
)

_ALIKE: Final = (
    "SELECT files.rowid, place, bytes, modified, sha1 FROM json_each(?1) CROSS JOIN files"
    " WHERE user = ?3 AND place = value AND bytes IN (SELECT value FROM json_each(?2))"
    " ORDER BY files.rowid"
)
"""Reads each place once, however often it is wanted. A user may have many files of one place."""

_ROWS: Final = (
    f"{_SELECT}, files.rowid FROM files"  # noqa: S608  it is constant
    " WHERE files.rowid IN (SELECT value FROM json_each(?))"
)

ALL: Final = f"{_SELECT} FROM files ORDER BY name"


def enter(connection: sqlite3.Connection, commits: Sequence[Commit], now: float) -> None:
    """Add the files of running uploads, or replace the entries of those names, in this order.

    Those that are gone by now are left out.
    """
    rows = [(each.upload, each.name, each.sha1) for each in commits if not each.gone]
    connection.execute(_ENTER, (json.dumps(rows, ensure_ascii=False), now))
    folders.remember(connection, (path for each in commits for path in each.made))


def find(
    connection: sqlite3.Connection, user: str, wanted: Sequence[Wanted]
) -> Mapping[int, Sequence[FileEntry]]:
    """The user's files that match, by the index in `wanted`. See `Records.find_files`."""
    found = {one: deque[int](maxlen=CANDIDATES) for one in wanted}  # of what has the same values
    places, sizes = {one.place for one in found if one.place}, {one.size for one in found}
    arguments = (json.dumps(list(places), ensure_ascii=False), json.dumps(list(sizes)), user)
    for row, place, size, modified, sha1 in connection.execute(_ALIKE, arguments):
        for values in set(product((modified, None), (sha1, None))):
            rows = found.get(Wanted(place, size, *values))
            if rows is not None:
                rows.append(row)
    every = json.dumps([row for rows in found.values() for row in rows])
    entries = {row: entry(columns) for *columns, row in connection.execute(_ROWS, (every,))}
    return {
        index: [entries[row] for row in reversed(found[one]) if row in entries]
        for index, one in enumerate(wanted)
        if found[one]
    }


def of_names(connection: sqlite3.Connection, names: Sequence[str]) -> dict[str, FileEntry]:
    """The records of those of the names that have one."""
    rows = connection.execute(_OF_NAMES, (json.dumps(names, ensure_ascii=False),))
    return {found.name: found for found in map(entry, rows)}


def remove(connection: sqlite3.Connection, entries: Sequence[FileEntry]) -> list[bool]:
    """Drop these records; False for each that has changed since it was read."""
    return [bool(connection.execute(_REMOVE, _exactly(each)).rowcount) for each in entries]


def is_empty(connection: sqlite3.Connection) -> bool:
    """Whether there is no file in the ledger."""
    return connection.execute("SELECT 1 FROM files").fetchone() is None


def undated(connection: sqlite3.Connection) -> list[str]:
    """The files with an owner that were entered before schema 6, which has the time of each."""
    return [
        name
        for (name,) in connection.execute(
            "SELECT name FROM files WHERE (expires IS NOT NULL) = 0 AND stored = 0 AND user <> ?",
            (UNKNOWN_USER,),
        )
    ]


def set_times(connection: sqlite3.Connection, modified: Mapping[str, float]) -> None:
    """Enter when files were stored that were entered before schema 6; the others have no time."""
    connection.executemany(
        "UPDATE files SET stored = ? WHERE name = ? AND stored = 0 AND user <> ?",
        [(time, name, UNKNOWN_USER) for name, time in modified.items()],
    )
    connection.execute(
        "UPDATE files SET stored = NULL WHERE (expires IS NOT NULL) = 0 AND stored = 0"
    )


def reconcile(connection: sqlite3.Connection, on_disk: Mapping[str, int]) -> int:
    """Make the table agree with the sizes in `on_disk`; returns how many files were not in it."""
    entered = dict(connection.execute("SELECT name, bytes FROM files"))
    gone = [(name,) for name in entered if name not in on_disk]
    connection.executemany("DELETE FROM files WHERE name = ?", gone)
    unknown, changed = list[tuple[str, int]](), list[tuple[int, str]]()
    for name, size in on_disk.items():
        known = entered.get(name)
        if known is None:
            unknown.append((name, size))
        elif size != known:
            changed.append((size, name))
    add_unknown(connection, unknown)
    resize(connection, changed)
    return len(unknown)


def enter_found(connection: sqlite3.Connection, found: Sequence[tuple[str, int]]) -> int:
    """See `Records.enter_found`."""
    names = json.dumps([name for name, _ in found], ensure_ascii=False)
    claimed = {name for (name,) in connection.execute(_CLAIMED, (names,))}
    return add_unknown(connection, [each for each in found if each[0] not in claimed])


def add_unknown(connection: sqlite3.Connection, found: Sequence[tuple[str, int]]) -> int:
    """Add files by name and size that were not stored by an upload, unless they are there.

    Returns how many were added.
    """
    added = 0
    for first in range(0, len(found), _AT_ONCE):
        added += connection.execute(
            "INSERT OR IGNORE INTO files (name, user, bytes, stored)"
            " SELECT json_extract(value, '$[0]'), ?2, json_extract(value, '$[1]'), NULL"
            " FROM json_each(?1)",
            (json.dumps(found[first : first + _AT_ONCE], ensure_ascii=False), UNKNOWN_USER),
        ).rowcount
    return added


def resize(connection: sqlite3.Connection, changed: Sequence[tuple[int, str]]) -> None:
    """Enter the size of files, by name, that somebody has changed. See FileEntry."""
    connection.executemany(f"{_RESIZE} WHERE name = ?", changed)


def resize_unchanged(
    connection: sqlite3.Connection, changed: Sequence[tuple[FileEntry, int]]
) -> int:
    """`resize`, unless the record has changed since it was read; returns how many were changed."""
    return connection.executemany(
        f"{_RESIZE}{_EXACTLY}", [(size, *_exactly(each)) for each, size in changed]
    ).rowcount


def _exactly(entry: FileEntry) -> tuple[object, ...]:
    """The parameters of _EXACTLY."""
    return entry.name, entry.user, entry.size, entry.stored, entry.upload, entry.expires


def entry(columns: Sequence[Any]) -> FileEntry:
    """From COLUMNS."""
    return FileEntry(*columns)
