"""Interrupted uploads that are kept: found, listed and dropped."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from galileod.ledger.base import KeptUpload, Resumable
from galileod.ledger.records import About

from .connection import Connection
from .quota import from_text

_SELECT: Final = (
    'SELECT upload, "user", bytes, "offset", durable, began, until,'
    " sent, folder, place, modified, retention, ticket, meta,"
    " key, metadata, name, path, on_conflict, durability, authenticated"
    ' FROM uploads WHERE "offset" IS NOT NULL'
)


def find(connection: Connection, key: str) -> KeptUpload | None:
    """The kept upload with this key."""
    return _first(connection.execute(f"{_SELECT} AND key = %s", (key,)))


def get(connection: Connection, upload: str) -> KeptUpload | None:
    """The kept upload of this name."""
    return _first(connection.execute(f"{_SELECT} AND upload = %s", (upload,)))


def page(connection: Connection, first: str, count: int) -> Sequence[KeptUpload]:
    """At most `count` in the order of their names, from `first` on."""
    operator, bound = from_text(first)
    rows = connection.execute(
        f"{_SELECT} AND upload {operator} %s ORDER BY upload LIMIT %s", (bound, count)
    )
    return _all(rows)


def total_bytes(connection: Connection, *, authenticated: bool) -> int:
    """The bytes of all; without those of authenticated users unless `authenticated`."""
    row = connection.execute(
        'SELECT sum("offset") FROM uploads WHERE "offset" IS NOT NULL AND authenticated <= %s',
        (authenticated,),
    ).fetchone()
    return int(row[0] or 0) if row else 0


def take_oldest(
    connection: Connection, user: str, most: int, *, authenticated: bool
) -> Sequence[KeptUpload]:
    """Drop the oldest of a user beyond `most`; returns them.

    A known user may be named like an address: the uploads of one are not those of the other.
    """
    rows = connection.execute(
        f'{_SELECT} AND "user" = %s AND authenticated = %s'
        " ORDER BY until DESC, upload DESC OFFSET %s",
        (user, authenticated, most),
    )
    return _drop(connection, _all(rows)[::-1])


def take_expired(connection: Connection, now: float, most: int) -> Sequence[KeptUpload]:
    """Drop at most `most` whose time is over; returns them."""
    rows = connection.execute(
        f"{_SELECT} AND until <= %s ORDER BY until, upload LIMIT %s", (now, most)
    )
    return _drop(connection, _all(rows))


def take(connection: Connection, upload: str) -> KeptUpload | None:
    """Drop the kept upload of this name; returns it."""
    found = get(connection, upload)
    if found is not None:
        _drop(connection, [found])
    return found


def take_next(
    connection: Connection, user: str | None, *, authenticated: bool
) -> KeptUpload | None:
    """Drop the one that gives way next: see `Ledger.give_way`."""
    if user is None:
        row = connection.execute(
            'SELECT "user" FROM uploads WHERE "offset" IS NOT NULL AND authenticated <= %s'
            ' GROUP BY "user" ORDER BY sum("offset") DESC, "user" LIMIT 1',
            (authenticated,),
        ).fetchone()
        if row is None:
            return None
        (user,) = row
    rows = connection.execute(
        # The first that would expire has been kept for the longest time.
        f'{_SELECT} AND "user" = %s AND authenticated <= %s ORDER BY until, upload LIMIT 1',
        (user, authenticated),
    )
    dropped = _drop(connection, _all(rows))
    return dropped[0] if dropped else None


def _drop(connection: Connection, uploads: Sequence[KeptUpload]) -> Sequence[KeptUpload]:
    if uploads:
        connection.execute(
            "DELETE FROM uploads WHERE upload = ANY(%s)", ([one.upload for one in uploads],)
        )
    return uploads


def _all(rows: Iterable[Sequence[Any]]) -> list[KeptUpload]:
    return [_read(row) for row in rows]


def _first(rows: Iterable[Sequence[Any]]) -> KeptUpload | None:
    return next(map(_read, rows), None)


def _read(row: Sequence[Any]) -> KeptUpload:
    """From the columns of _SELECT."""
    upload, user, size, offset, durable, began, until, *rest = row
    sent, folder, place, modified, retention, ticket, meta, *fixed = rest
    about = About(sent, folder, place, modified, retention, ticket, meta) if place else None
    key, metadata, name, path, on_conflict, durability, authenticated = fixed
    resumable = Resumable(key, metadata, name, path, on_conflict, durability, authenticated)
    return KeptUpload(upload, user, size, resumable, offset, durable, began, until, about)
