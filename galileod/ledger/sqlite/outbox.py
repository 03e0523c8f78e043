"""The receipts that are owed to the hook."""

import sqlite3
from collections.abc import Sequence

from galileod.ledger.base import Clock
from galileod.ledger.outbox import MOST_COUNTED, Outbox, Owed
from galileod.policy.backoff import LONGEST

from .database import Database


def add(connection: sqlite3.Connection, receipts: Sequence[tuple[str, str]], due: float) -> None:
    """Add receipts, each with the name of its file, which are due at `due` (since the epoch)."""
    connection.executemany(
        "INSERT INTO outbox (name, receipt, due) VALUES (?, ?, ?)",
        [(name, receipt, due) for name, receipt in receipts],
    )


def count(connection: sqlite3.Connection) -> int:
    """The number of receipts, at most MOST_COUNTED."""
    (number,) = connection.execute(
        "SELECT count(*) FROM (SELECT 1 FROM outbox LIMIT ?)", (MOST_COUNTED,)
    ).fetchone()
    return int(number)


def first(connection: sqlite3.Connection, most: int, clock: Clock) -> Sequence[Owed]:
    """The first `most` receipts by due time."""
    now = clock()
    # No delay is longer than LONGEST. If a due time is later, the clock was set back, or the value
    # is not a number (SQLite sorts text after numbers): the receipt is made due now.
    connection.execute("UPDATE outbox SET due = ? WHERE due > ?", (now, now + LONGEST))
    rows = connection.execute(
        # The casts ensure these types even if a row was edited by hand.
        "SELECT number, CAST(name AS TEXT), CAST(receipt AS TEXT), CAST(attempts AS INTEGER), due,"
        " CASE kind WHEN 'removed' THEN kind ELSE 'stored' END"
        " FROM outbox WHERE due IS NOT NULL ORDER BY due, number LIMIT ?",
        (most,),
    ).fetchall()
    return [
        Owed(number, name, receipt, attempts, max(0.0, due - now), kind)
        for number, name, receipt, attempts, due, kind in rows
    ]


def delivered(connection: sqlite3.Connection, number: int) -> None:
    """Remove a receipt."""
    connection.execute("DELETE FROM outbox WHERE number = ?", (number,))


def postpone(
    connection: sqlite3.Connection, number: int, seconds: float | None, clock: Clock
) -> None:
    """Count a failed attempt, and set the time of the next."""
    due = None if seconds is None else clock() + seconds
    connection.execute(
        "UPDATE outbox SET attempts = attempts + 1, due = ? WHERE number = ?", (due, number)
    )


def restart(connection: sqlite3.Connection) -> None:
    """Make every receipt due and reset its attempts: the hook may have been repaired."""
    connection.execute("UPDATE outbox SET attempts = 0, due = 0")


class SqliteOutbox(Outbox):
    """The table `outbox`."""

    def __init__(self, database: Database, clock: Clock) -> None:
        super().__init__()
        self._database = database
        self._clock = clock

    async def count(self) -> int:
        """See `Outbox.count`."""
        return await self._database.read(count)

    async def first(self, most: int) -> Sequence[Owed]:
        """See `Outbox.first`."""
        return await self._database.write(first, most, self._clock)

    async def delivered(self, number: int) -> None:
        """See `Outbox.delivered`."""
        await self._database.write(delivered, number)

    async def postpone(self, number: int, seconds: float | None) -> None:
        """See `Outbox.postpone`."""
        await self._database.write(postpone, number, seconds, self._clock)
