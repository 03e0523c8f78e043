"""Single-use tickets that were used, kept until they expire."""

import sqlite3

from galileod.ledger.base import AlreadyUsedError, SingleUse


def use(connection: sqlite3.Connection, ticket: SingleUse, now: float) -> None:
    """Mark a ticket as used. Raises AlreadyUsedError if it is, or if it has expired by `now`."""
    # It may have expired since it was verified. Its row may have been deleted already.
    if ticket.until <= now:
        raise AlreadyUsedError
    # Bounds the table: a ticket is valid for an hour at most.
    connection.execute("DELETE FROM tickets WHERE until <= ?", (now,))
    used = connection.execute(
        "INSERT OR IGNORE INTO tickets VALUES (?, ?)", (ticket.id, ticket.until)
    )
    if not used.rowcount:
        raise AlreadyUsedError
