"""Single-use tickets that were used, kept until they expire."""

from collections.abc import Sequence

from galileod.ledger.base import AlreadyUsedError, SingleUse

from .connection import Connection


def use(connection: Connection, ticket: SingleUse, now: float, key: str | None = None) -> None:
    """Mark a ticket as used, for the upload with the `key` of a Resumable if it has one.

    Until it is stored, that upload may use it again: its first connection may have been lost before
    anything came.
    Raises AlreadyUsedError if another has used it, or if it has expired by `now`.
    """
    # It may have expired since it was verified. Its row may have been deleted already.
    if ticket.until <= now:
        raise AlreadyUsedError
    # Bounds the table: a ticket is valid for an hour at most.
    connection.execute("DELETE FROM tickets WHERE until <= %s", (now,))
    used = connection.execute(
        "INSERT INTO tickets (id, until, key) VALUES (%s, %s, %s)"
        # Of two NULLs, none equals the other.
        " ON CONFLICT (id) DO UPDATE SET until = tickets.until WHERE tickets.key = excluded.key",
        (ticket.id, ticket.until, key),
    )
    if not used.rowcount:
        raise AlreadyUsedError


def end_use(connection: Connection, keys: Sequence[str]) -> None:
    """The uploads with these keys are stored: their tickets must not begin others."""
    if keys:
        connection.execute("UPDATE tickets SET key = NULL WHERE key = ANY(%s)", (list(keys),))
