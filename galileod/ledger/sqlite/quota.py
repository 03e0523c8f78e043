"""The sums for the quota: what each user holds, and all. Triggers in the schema update them."""

import sqlite3
from typing import Final

from galileod.policy.quota import Holding

from .schema import SUM_OF_HOLDINGS

_TOTAL: Final = "SELECT bytes, files, reserved, uploads, kept, kept_uploads FROM totals"
_OF_USER: Final = (
    "SELECT bytes, files, reserved, uploads, kept, kept_uploads FROM holdings WHERE user = ?"
)
_BY_USER: Final = (
    "SELECT user, bytes, files, reserved, uploads, kept, kept_uploads FROM holdings"
    " WHERE user >= ? AND (files > 0 OR uploads > 0 OR kept_uploads > 0) ORDER BY user LIMIT ?"
)

_ALL: Final = -1
"""SQLite's LIMIT for all rows."""


def total(connection: sqlite3.Connection) -> Holding:
    """What all users hold together."""
    return Holding(*connection.execute(_TOTAL).fetchone())


def of_user(connection: sqlite3.Connection, user: str) -> Holding:
    """What one user holds."""
    row = connection.execute(_OF_USER, (user,)).fetchone()
    return Holding(*row) if row else Holding()


def by_user(
    connection: sqlite3.Connection, first: str = "", count: int = _ALL
) -> dict[str, Holding]:
    """What each user holds, for at most `count` users from `first` on."""
    rows = connection.execute(_BY_USER, (first, count))
    return {user: Holding(*numbers) for user, *numbers in rows}


def rebuild(connection: sqlite3.Connection) -> None:
    """Compute the sums from the files and the kept uploads, while nothing is reserved."""
    connection.execute("DELETE FROM holdings")
    connection.execute(
        "INSERT INTO holdings (user, bytes, files, reserved, uploads)"
        " SELECT user, sum(bytes), count(*), 0, 0 FROM files GROUP BY user"
    )
    connection.execute(
        "INSERT INTO holdings SELECT user, 0, 0, 0, 0, sum(offset), count(*) FROM uploads"
        " WHERE offset IS NOT NULL GROUP BY user ON CONFLICT (user) DO"
        " UPDATE SET kept = excluded.kept, kept_uploads = excluded.kept_uploads"
    )
    connection.execute("DELETE FROM totals")
    connection.execute(f"INSERT INTO totals {SUM_OF_HOLDINGS}")
