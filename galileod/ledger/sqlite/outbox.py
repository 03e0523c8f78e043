"""The receipts that are owed to the hook."""

import sqlite3
from collections.abc import Collection, Container, Iterable, Sequence
from operator import itemgetter
from typing import Final

from galileod.ledger.base import Clock
from galileod.ledger.outbox import KINDS, MOST_COUNTED, Kind, Outbox, Owed
from galileod.policy.backoff import LONGEST

from .database import Database

_PROMISED: Final = "removing"
"""The kind of a receipt of a file that is about to be removed. No hook gets it."""


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


def promise(connection: sqlite3.Connection, receipts: Sequence[tuple[str, str]]) -> None:
    """Add receipts of files, by name, that are about to be removed: `keep_promise` follows."""
    break_promises(connection, [name for name, _ in receipts])
    connection.executemany(
        "INSERT INTO outbox (name, receipt, kind) VALUES (?, ?, ?)",
        [(name, receipt, _PROMISED) for name, receipt in receipts],
    )


def keep_promise(connection: sqlite3.Connection, name: str, due: float) -> bool:
    """The file was removed: make its receipt due; returns whether one was promised."""
    kept = connection.execute(
        "UPDATE outbox SET kind = 'removed', due = ? WHERE kind = ? AND name = ?",
        (due, _PROMISED, name),
    )
    return bool(kept.rowcount)


def break_promises(connection: sqlite3.Connection, names: Iterable[str]) -> None:
    """Drop the receipts that were promised for files which were not removed."""
    connection.executemany(
        "DELETE FROM outbox WHERE kind = ? AND name = ?", [(_PROMISED, name) for name in names]
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


def restart(connection: sqlite3.Connection, on_disk: Container[str] | None) -> None:
    """Make every receipt due and reset its attempts: the hook may have been repaired.

    Those that were promised for files which are still `on_disk` are dropped. Without it, those of
    files in the ledger stay promised: they become due once the record of the file is removed.
    """
    if on_disk is not None:
        promised = connection.execute(
            "SELECT CAST(name AS TEXT) FROM outbox WHERE kind = ?", (_PROMISED,)
        ).fetchall()
        break_promises(connection, [name for (name,) in promised if name in on_disk])
    connection.execute(
        "UPDATE outbox SET kind = 'removed'"
        " WHERE kind = ? AND (? OR name NOT IN (SELECT name FROM files))",
        (_PROMISED, on_disk is not None),
    )
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

    async def first(
        self, most: int, kinds: Collection[Kind] = KINDS, hold: float = 0
    ) -> Sequence[Owed]:
        """See `Outbox.first`."""
        del hold  # no other node has this ledger
        return await self._database.write(first, most, kinds, self._clock)

    async def delivered(self, number: int) -> None:
        """See `Outbox.delivered`."""
        await self._database.write(delivered, number)

    async def postpone(self, number: int, seconds: float | None) -> None:
        """See `Outbox.postpone`."""
        await self._database.write(postpone, number, seconds, self._clock)
