"""Single-use tickets that were used, kept until they expire."""

from collections.abc import Sequence
from typing import Final

from galileod.ledger.base import SingleUse

from .clocks import EARLIER
from .connection import Connection

_USE: Final = (
    # Bounds the table: a ticket is valid for an hour at most.
    f"WITH expired AS (DELETE FROM tickets WHERE until <= {EARLIER})"  # noqa: S608  constant
    " INSERT INTO tickets (id, until, key)"
    " SELECT * FROM unnest(%s::text[], %s::float8[], %s::text[]) ON CONFLICT (id) DO NOTHING"
)


def used(connection: Connection, tickets: Sequence[SingleUse]) -> dict[str, str | None]:
    """Those of the tickets that were used, by their ids, with the key of the upload."""
    rows = connection.execute(
        "SELECT id, key FROM tickets WHERE id = ANY(%s)", ([ticket.id for ticket in tickets],)
    )
    return dict(rows.fetchall())


def use(connection: Connection, uses: Sequence[tuple[SingleUse, str | None]], now: float) -> None:
    """Mark tickets as used, each for the upload with the `key` of a Resumable if it has one.

    One that was used before was used by the same upload.
    """
    values = (
        now,
        [ticket.id for ticket, _ in uses],
        [ticket.until for ticket, _ in uses],
        [key for _, key in uses],
    )
    connection.execute(_USE, values)


def end_use(connection: Connection, keys: Sequence[str]) -> None:
    """The uploads with these keys are stored: their tickets must not begin others."""
    if keys:
        connection.execute("UPDATE tickets SET key = NULL WHERE key = ANY(%s)", (list(keys),))
