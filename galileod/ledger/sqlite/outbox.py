"""The receipts that are owed to the hook."""

import sqlite3
from collections.abc import Collection, Sequence
from operator import itemgetter

from galileod.ledger.base import Clock
from galileod.ledger.outbox import KINDS, MOST_COUNTED, Kind, Outbox, Owed
from galileod.policy.backoff import LONGEST

from .database import Database


def add(
    connection: sqlite3.Connection,
    receipts: Sequence[tuple[str, str]],
    due: float,
    kind: Kind = "stored",
) -> None:
    """Add receipts, each with the name of its file, which are due at `due` (since the epoch)."""
    connection.executemany(
        "INSERT INTO outbox (name, receipt, due, kind) VALUES (?, ?, ?, ?)",
        [(name, receipt, due, kind) for name, receipt in receipts],
    )


def count(connection: sqlite3.Connection, kinds: Collection[Kind]) -> int:
    """The number of receipts of these kinds, at most MOST_COUNTED."""
    found = 0
    for kind in kinds:
        (number,) = connection.execute(
            "SELECT count(*) FROM (SELECT 1 FROM outbox WHERE kind = ? LIMIT ?)",
            (kind, MOST_COUNTED - found),
        ).fetchone()
        found += int(number)
    return found


def first(
    connection: sqlite3.Connection, most: int, kinds: Collection[Kind], clock: Clock
) -> Sequence[Owed]:
    """The first `most` receipts of these kinds by due time."""
    now = clock()
    found = list[tuple[float, int, Owed]]()
    for kind in kinds:
        # No delay is longer than LONGEST. If a due time is later, the clock was set back, or the
        # value is not a number (SQLite sorts text after numbers): the receipt is made due now.
        connection.execute(
            "UPDATE outbox SET due = ? WHERE kind = ? AND due > ?", (now, kind, now + LONGEST)
        )
        rows = connection.execute(
            # The casts ensure these types even if a row was edited by hand.
            "SELECT number, CAST(name AS TEXT), CAST(receipt AS TEXT), CAST(attempts AS INTEGER),"
            " due FROM outbox WHERE kind = ? AND due IS NOT NULL ORDER BY due, number LIMIT ?",
            (kind, most),
        )
        found += [
            (due, number, Owed(number, name, receipt, attempts, max(0.0, due - now), kind))
            for number, name, receipt, attempts, due in rows
        ]
    return [owed for _, _, owed in sorted(found, key=itemgetter(0, 1))[:most]]


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

    async def count(self, kinds: Collection[Kind] = KINDS) -> int:
        """See `Outbox.count`."""
        return await self._database.read(count, kinds)

    async def first(self, most: int, kinds: Collection[Kind] = KINDS) -> Sequence[Owed]:
        """See `Outbox.first`."""
        return await self._database.write(first, most, kinds, self._clock)

    async def delivered(self, number: int) -> None:
        """See `Outbox.delivered`."""
        await self._database.write(delivered, number)

    async def postpone(self, number: int, seconds: float | None) -> None:
        """See `Outbox.postpone`."""
        await self._database.write(postpone, number, seconds, self._clock)
