"""The table of nodes: who shares the ledger, until when each may write, and its fencing number.

A fencing number is given once. A node whose number is not in the table any more has lost its lease:
each transaction that writes looks for it first, see `Database`. All functions but `renew` and
`give_back` run under the lock of `totals`, so only one of them at a time.
"""

from typing import Final

from attrs import asdict, frozen

from galileod.ledger import lease
from galileod.ledger.base import LedgerError

from .connection import Connection

FORGOTTEN_DAYS: Final = 7
"""Days after which a node that has not come back is forgotten."""

_LIVING: Final = (
    # After a start of the server each node needs time to renew its lease.
    "isfinite(until) AND greatest(until, pg_postmaster_start_time() + make_interval(secs =>"
    " %(lease)s)) > clock_timestamp()"
)
"""Of a node, whether it may still write. One that has stopped has given its lease back."""

_OTHERS: Final = f"SELECT name, identity FROM nodes WHERE {_LIVING} ORDER BY name"  # noqa: S608  constant

_MINE: Final = (
    "SELECT FROM nodes WHERE name = %(name)s OR identity = %(identity)s ORDER BY name FOR UPDATE"
)
"""Waits for transactions of an earlier process that have looked for its number already."""

_DROP: Final = (
    "DELETE FROM nodes WHERE identity = %(identity)s AND name <> %(name)s"  # noqa: S608  constant
    f" OR NOT ({_LIVING}) AND started < clock_timestamp() - make_interval(days => {FORGOTTEN_DAYS})"
)

_ENTER: Final = (
    "INSERT INTO nodes (name, identity, fence, until, version, started)"
    " VALUES (%(name)s, %(identity)s, nextval('fences'),"
    " clock_timestamp() + make_interval(secs => %(lease)s), %(version)s, clock_timestamp())"
    " ON CONFLICT (name) DO UPDATE SET identity = excluded.identity, fence = excluded.fence,"
    " until = excluded.until, version = excluded.version, started = excluded.started"
    " RETURNING fence"
)

_RENEW: Final = (
    "UPDATE nodes SET until = clock_timestamp() + make_interval(secs => %s) WHERE fence = %s"
)

_GIVE_BACK: Final = "UPDATE nodes SET until = '-infinity' WHERE fence = %s"


@frozen
class Me:
    """What the others see of this node. `identity` is that of its state directory."""

    name: str
    identity: str
    version: str


def acquire(connection: Connection, me: Me) -> int:
    """Get a lease, and a new fencing number, which is returned.

    A process with the same identity is an earlier one of this node, and loses its lease. Raises
    LedgerError if another node uses the ledger.
    """
    values = {**asdict(me), "lease": lease.LEASE_SECONDS}
    for name, identity in connection.execute(_OTHERS, values).fetchall():
        if identity != me.identity:
            raise LedgerError(_refusal(me, name))
        if name != me.name:
            raise LedgerError(
                f'the node "{name}", which is running, has the same file .galileod/node: one is a'
                " copy of the other; remove it where it does not belong"
            )
    connection.execute(_MINE, values)
    connection.execute(_DROP, values)
    row = connection.execute(_ENTER, values).fetchone()
    if row is None:
        raise LedgerError("the table nodes does not take a row")
    return int(row[0])


def renew(connection: Connection, fence: int) -> bool:
    """Renew the lease; False if it is lost."""
    return connection.execute(_RENEW, (lease.LEASE_SECONDS, fence)).rowcount > 0


def give_back(connection: Connection, fence: int) -> None:
    """End the lease, so that nobody waits for it. Nothing is to be written any more."""
    connection.execute(_GIVE_BACK, (fence,))


def _refusal(me: Me, name: str) -> str:
    waits = f"if it does not run any more, start again in {lease.LEASE_SECONDS:g} s"
    if name == me.name:
        return f'another galileod with the name "{name}" uses it; set ledger.node, or {waits}'
    return f'it is in use by the node "{name}", and only one may use it; {waits}'
