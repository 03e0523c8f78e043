"""Interrupted uploads that are kept: found, listed and dropped."""

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from galileod.ledger.base import KeptUpload, Resumable
from galileod.ledger.records import About

_SELECT: Final = (
    "SELECT upload, user, bytes, offset, durable, began, until,"
    " sent, folder, place, modified, retention, ticket, meta,"
    " key, metadata, name, path, on_conflict, durability, authenticated"
    " FROM uploads WHERE offset IS NOT NULL"
)

_ALL: Final = -1
"""SQLite's LIMIT for all rows."""


def find(connection: sqlite3.Connection, key: str) -> KeptUpload | None:
    """The kept upload with this key."""
    return _first(connection.execute(f"{_SELECT} AND key = ?", (key,)))


def get(connection: sqlite3.Connection, upload: str) -> KeptUpload | None:
    """The kept upload of this name."""
    return _first(connection.execute(f"{_SELECT} AND upload = ?", (upload,)))


def page(connection: sqlite3.Connection, first: str, count: int) -> Sequence[KeptUpload]:
    """At most `count` in the order of their names, from `first` on."""
    rows = connection.execute(f"{_SELECT} AND upload >= ? ORDER BY upload LIMIT ?", (first, count))
    return _all(rows)


def total_bytes(connection: sqlite3.Connection, *, authenticated: bool) -> int:
    """The bytes of all; without those of authenticated users unless `authenticated`."""
    (total,) = connection.execute(
        "SELECT coalesce(sum(offset), 0) FROM uploads"
        " WHERE offset IS NOT NULL AND authenticated <= ?",
        (authenticated,),
    ).fetchone()
    return int(total)


def take_oldest(
    connection: sqlite3.Connection, user: str, most: int, *, authenticated: bool
) -> Sequence[KeptUpload]:
    """Drop the oldest of a user beyond `most`; returns them.

    A known user may be named like an address: the uploads of one are not those of the other.
    """
    rows = connection.execute(
        f"{_SELECT} AND user = ? AND authenticated = ?"
        " ORDER BY until DESC, upload DESC LIMIT ? OFFSET ?",
        (user, authenticated, _ALL, most),
    )
    return _drop(connection, _all(rows)[::-1])


def take_expired(connection: sqlite3.Connection, now: float, most: int) -> Sequence[KeptUpload]:
    """Drop at most `most` whose time is over; returns them."""
    rows = connection.execute(
        f"{_SELECT} AND until <= ? ORDER BY until, upload LIMIT ?", (now, most)
    )
    return _drop(connection, _all(rows))


def take(connection: sqlite3.Connection, upload: str) -> KeptUpload | None:
    """Drop the kept upload of this name; returns it."""
    found = get(connection, upload)
    if found is not None:
        _drop(connection, [found])
    return found


def take_next(
    connection: sqlite3.Connection, user: str | None, *, authenticated: bool
) -> KeptUpload | None:
    """Drop the one that gives way next: see `Ledger.give_way`."""
    if user is None:
        row = connection.execute(
            "SELECT user FROM uploads WHERE offset IS NOT NULL AND authenticated <= ?"
            " GROUP BY user ORDER BY sum(offset) DESC, user LIMIT 1",
            (authenticated,),
        ).fetchone()
        if row is None:
            return None
        (user,) = row
    rows = connection.execute(
        # The first that would expire has been kept for the longest time.
        f"{_SELECT} AND user = ? AND authenticated <= ? ORDER BY until, upload LIMIT 1",
        (user, authenticated),
    )
    dropped = _drop(connection, _all(rows))
    return dropped[0] if dropped else None


def _drop(connection: sqlite3.Connection, uploads: Sequence[KeptUpload]) -> Sequence[KeptUpload]:
    connection.executemany(
        "DELETE FROM uploads WHERE upload = ?", [(one.upload,) for one in uploads]
    )
    return uploads


def _all(rows: sqlite3.Cursor) -> list[KeptUpload]:
    return [_read(row) for row in rows]


def _first(rows: sqlite3.Cursor) -> KeptUpload | None:
    row = rows.fetchone()
    return None if row is None else _read(row)


def _read(row: Sequence[Any]) -> KeptUpload:
    """From the columns of _SELECT."""
    upload, user, size, offset, durable, began, until, *rest = row
    sent, folder, place, modified, retention, ticket, meta, *fixed = rest
    # A version before schema 6 has not recorded it.
    about = About(sent, folder, place, modified, retention, ticket, meta) if place else None
    key, metadata, name, path, on_conflict, durability, authenticated = fixed
    resumable = Resumable(key, metadata, name, path, on_conflict, durability, bool(authenticated))
    return KeptUpload(upload, user, size, resumable, offset, durable, began, until, about)
