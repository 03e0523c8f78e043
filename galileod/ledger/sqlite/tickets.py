"""Single-use tickets that were used, kept until they expire."""

import sqlite3

from galileod.ledger.base import AlreadyUsedError, SingleUse


def use(
    connection: sqlite3.Connection, ticket: SingleUse, now: float, key: str | None = None
) -> None:
    """Mark a ticket as used, for the upload with the `key` of a Resumable if it has one.

    Until it is stored, that upload may use it again: its first connection may have been lost before
    anything came.
    Raises AlreadyUsedError if another has used it, or if it has expired by `now`.
    """
    # It may have expired since it was verified. Its row may have been deleted already.
    if ticket.until <= now:
        raise AlreadyUsedError
    # Bounds the table: a ticket is valid for an hour at most.
    connection.execute("DELETE FROM tickets WHERE until <= ?", (now,))
    used = connection.execute(
        "INSERT INTO tickets (id, until, key) VALUES (?, ?, ?)"
        # Of two NULLs, none equals the other.
        " ON CONFLICT (id) DO UPDATE SET until = until WHERE key = excluded.key",
        (ticket.id, ticket.until, key),
    )
    if not used.rowcount:
        raise AlreadyUsedError


def end_use(connection: sqlite3.Connection, key: str) -> None:
    """The upload with this key is stored: its ticket must not begin another one."""
    connection.execute("UPDATE tickets SET key = NULL WHERE key = ?", (key,))
