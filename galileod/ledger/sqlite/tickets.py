"""Single-use tickets that were used, kept until they expire."""

import json
import sqlite3
from collections.abc import Sequence

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


def used(connection: sqlite3.Connection, tickets: Sequence[SingleUse]) -> dict[str, str | None]:
    """Those of the tickets that were used, by their ids, with the key of the upload."""
    rows = connection.execute(
        "SELECT id, key FROM tickets WHERE id IN (SELECT value FROM json_each(?))",
        (json.dumps([ticket.id for ticket in tickets]),),
    )
    return dict(rows.fetchall())


def end_use(connection: sqlite3.Connection, keys: Sequence[str]) -> None:
    """The uploads with these keys are stored: their tickets must not begin others."""
    connection.executemany("UPDATE tickets SET key = NULL WHERE key = ?", [(key,) for key in keys])
