"""The clock of this node beside that of the database.

A node removes what the others have written as well, and a clock that is ahead must not make it do
so too early. So a time is over only once both clocks say so.
"""

from typing import Final

from galileod.ledger.base import Clock, LedgerError
from galileod.ledger.node import CLOCKS_APART

from .connection import Connection

EARLIER: Final = "least(%s, extract(epoch FROM now())::DOUBLE PRECISION)"
"""The earlier one of a time of this node and that at which the transaction has begun."""

_EARLIER: Final = f"SELECT {EARLIER}"

_NOW: Final = "SELECT extract(epoch FROM clock_timestamp())::DOUBLE PRECISION"


def earlier(connection: Connection, now: float) -> float:
    """The time `now` of this node's clock, or that of the database if it is earlier."""
    return _seconds(connection, _EARLIER, now)


def ahead(connection: Connection, clock: Clock) -> float | None:
    """The seconds by which `clock` is ahead of the database's; negative if it is behind.

    0 if they do not differ by more than the answer takes, and None if that takes so long, or if
    `clock` is set meanwhile, that it tells nothing.
    """
    before = clock()
    there = _seconds(connection, _NOW)
    after = clock()
    if not 0 <= after - before <= CLOCKS_APART:
        return None
    return max(before - there, 0.0) + min(after - there, 0.0)


def _seconds(connection: Connection, query: str, *values: float) -> float:
    row = connection.execute(query, values).fetchone()
    if row is None:
        raise LedgerError("the database does not tell the time")
    return float(row[0])
