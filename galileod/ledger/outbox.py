"""What is owed to the hook: receipts of stored files, kept in the ledger until they are delivered.

`due` is a time of trio's clock, which begins anew with each process: at the start the ledger makes
all of it due, from its first attempt on, also what was given up.
"""

from collections.abc import Sequence
from typing import Final

import trio
from attrs import frozen

from .sqlite import Ledger

MOST_COUNTED: Final = 100_000
"""Counting reads all that is owed, and is done for each scrape; this takes some hundredths of a
second. Of more it is enough to know that they are many."""


@frozen
class Owed:
    """One receipt, of the file stored as `name`, after so many failed `attempts`."""

    number: int
    name: str
    receipt: str
    attempts: int
    due: float


class Outbox:
    """The receipts that are owed, and a bell for the one who delivers them.

    The async methods raise LedgerError.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._bell = trio.Event()

    def ring(self) -> None:
        """Say that there is something to do, or that the settings have changed."""
        self._bell.set()

    async def wait(self) -> None:
        """Wait until somebody rings, or has rung since the last time."""
        await self._bell.wait()
        self._bell = trio.Event()

    async def count(self) -> int:
        """How many are owed, with those that were given up; MOST_COUNTED if there are more."""
        # Nothing is changed by it, so whoever asks may go away while the disk hangs.
        return await self._ledger.run(self._count, abandon_on_cancel=True)

    async def first(self, most: int) -> Sequence[Owed]:
        """The first `most` by the time at which they are due, whether that has come or not."""
        return await self._ledger.run(self._first, most)

    async def delivered(self, number: int) -> None:
        """It is owed no more."""
        await self._ledger.run(self._execute, "DELETE FROM outbox WHERE number = ?", number)

    async def put_off(self, number: int, due: float | None) -> None:
        """One more attempt failed; the next is due then, or, with None, after the next start."""
        await self._ledger.run(
            self._execute,
            "UPDATE outbox SET attempts = attempts + 1, due = ? WHERE number = ?",
            due,
            number,
        )

    def _count(self) -> int:
        with self._ledger.transaction() as connection:
            (count,) = connection.execute(
                "SELECT count(*) FROM (SELECT 1 FROM outbox LIMIT ?)", (MOST_COUNTED,)
            ).fetchone()
        return int(count)

    def _first(self, most: int) -> Sequence[Owed]:
        with self._ledger.transaction() as connection:
            rows = connection.execute(
                # Whatever somebody wrote there by hand, it has these types.
                "SELECT number, CAST(name AS TEXT), CAST(receipt AS TEXT),"
                " CAST(attempts AS INTEGER), CAST(due AS REAL) FROM outbox"
                " WHERE due IS NOT NULL ORDER BY due, number LIMIT ?",
                (most,),
            ).fetchall()
        return [Owed(*row) for row in rows]

    def _execute(self, statement: str, *values: float | None) -> None:
        with self._ledger.transaction() as connection:
            connection.execute(statement, values)
