"""Uploads that were stored, by their keys: a client that did not hear of it may ask again."""

from collections.abc import Sequence
from typing import Final

from galileod.ledger.base import MOST_REMEMBERED, StoredUpload

from .clocks import EARLIER
from .connection import Connection

MOST_FORGOTTEN: Final = 10_000
"""Maximum number of rows that one call of `expire` deletes, which takes some hundredths of a
second."""

_REMEMBER: Final = (
    "INSERT INTO stored_uploads (key, metadata, name, until)"
    " SELECT key, metadata, name, until"
    " FROM unnest(%s::TEXT[], %s::TEXT[], %s::TEXT[], %s::DOUBLE PRECISION[])"
    " WITH ORDINALITY AS stored (key, metadata, name, until, at) ORDER BY at RETURNING number"
)

_FIND: Final = (
    "SELECT key, metadata, name FROM stored_uploads"  # noqa: S608  constant
    f" WHERE key = ANY(%s) AND until > {EARLIER}"
)


def remember(connection: Connection, uploads: Sequence[tuple[str, StoredUpload, float]]) -> None:
    """Remember each upload by its key, until a time; forget those MOST_REMEMBERED before them."""
    if not uploads:
        return
    keys = [key for key, _, _ in uploads]
    columns = (
        keys,
        [one.metadata for _, one, _ in uploads],
        [one.name for _, one, _ in uploads],
        [until for _, _, until in uploads],
    )
    connection.execute("DELETE FROM stored_uploads WHERE key = ANY(%s)", (keys,))
    latest = max(number for (number,) in connection.execute(_REMEMBER, columns))
    # As many rows at most, since each number is higher than all before. To count is too slow.
    connection.execute("DELETE FROM stored_uploads WHERE number <= %s", (latest - MOST_REMEMBERED,))


def find(connection: Connection, key: str, now: float) -> StoredUpload | None:
    """The upload that was stored with this key, unless its time is over."""
    return find_many(connection, [key], now).get(key)


def find_many(connection: Connection, keys: Sequence[str], now: float) -> dict[str, StoredUpload]:
    """The uploads that were stored with these keys, unless their time is over."""
    rows = connection.execute(_FIND, (list(keys), now))
    return {key: StoredUpload(metadata, name) for key, metadata, name in rows}


def expire(connection: Connection, now: float) -> None:
    """Delete those whose time is over, the oldest first, at most MOST_FORGOTTEN."""
    connection.execute(
        "DELETE FROM stored_uploads WHERE number IN"
        " (SELECT number FROM stored_uploads WHERE until <= %s ORDER BY until LIMIT %s)",
        (now, MOST_FORGOTTEN),
    )


def restart(connection: Connection, now: float, seconds: float) -> None:
    """Remember none for more than `seconds`, also if the clock was set back; none at all if 0."""
    if seconds:
        connection.execute(
            "UPDATE stored_uploads SET until = %(latest)s WHERE until > %(latest)s",
            {"latest": now + seconds},
        )
    else:
        connection.execute("DELETE FROM stored_uploads")
