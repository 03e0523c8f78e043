"""Uploads that were stored, by their keys: a client that did not hear of it may ask again."""

import json
import sqlite3
from collections.abc import Sequence
from typing import Final

from galileod.ledger.base import MOST_REMEMBERED, StoredUpload

MOST_FORGOTTEN: Final = 10_000
"""Maximum number of rows that one call of `expire` deletes, which takes some hundredths of a
second."""


def remember(
    connection: sqlite3.Connection, uploads: Sequence[tuple[str, StoredUpload, float]]
) -> None:
    """Remember each upload by its key, until a time; forget those MOST_REMEMBERED before them."""
    if not uploads:
        return
    connection.executemany(
        "INSERT OR REPLACE INTO stored_uploads (key, metadata, name, until) VALUES (?, ?, ?, ?)",
        [(key, one.metadata, one.name, until) for key, one, until in uploads],
    )
    # As many rows at most, since each number is one more than the highest. To count is too slow.
    connection.execute(
        "DELETE FROM stored_uploads WHERE number <= last_insert_rowid() - ?",
        (MOST_REMEMBERED,),
    )


def find(connection: sqlite3.Connection, key: str, now: float) -> StoredUpload | None:
    """The upload that was stored with this key, unless its time is over."""
    row = connection.execute(
        "SELECT metadata, name FROM stored_uploads WHERE key = ? AND until > ?", (key, now)
    ).fetchone()
    return StoredUpload(*row) if row else None


def find_many(
    connection: sqlite3.Connection, keys: Sequence[str], now: float
) -> dict[str, StoredUpload]:
    """The uploads that were stored with these keys, unless their time is over."""
    rows = connection.execute(
        "SELECT key, metadata, name FROM stored_uploads"
        " WHERE key IN (SELECT value FROM json_each(?)) AND until > ?",
        (json.dumps(keys), now),
    )
    return {key: StoredUpload(metadata, name) for key, metadata, name in rows}


def expire(connection: sqlite3.Connection, now: float) -> None:
    """Delete those whose time is over, the oldest first, at most MOST_FORGOTTEN."""
    connection.execute(
        "DELETE FROM stored_uploads WHERE number IN"
        " (SELECT number FROM stored_uploads WHERE until <= ? ORDER BY until LIMIT ?)",
        (now, MOST_FORGOTTEN),
    )


def restart(connection: sqlite3.Connection, now: float, seconds: float) -> None:
    """Remember none for more than `seconds`, also if the clock was set back; none at all if 0."""
    if seconds:
        connection.execute(
            "UPDATE stored_uploads SET until = ? WHERE until > ?", (now + seconds, now + seconds)
        )
    else:
        connection.execute("DELETE FROM stored_uploads")
