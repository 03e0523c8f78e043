"""The table of nodes: who shares the ledger, until when each may write, and its fencing number.

A fencing number is given once. A node whose number is not in the table any more has lost its lease:
each transaction that writes looks for it first, see `Database`. All functions but `renew`,
`declare` and `give_back` run under the lock of `totals`, so only one of them at a time. A node may
renew a lease that is over, as long as nobody has changed its row, so what changes it locks it
before it looks.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final

from attrs import asdict
from psycopg.types.json import Jsonb

from galileod.ledger import lease
from galileod.ledger.base import LedgerError
from galileod.ledger.contents import RunningNode
from galileod.ledger.node import Me

from .connection import Connection

FORGOTTEN_DAYS: Final = 7
"""Days after which a node that has not come back is forgotten."""

_LIVING: Final = (
    # After a start of the server each node needs time to renew its lease.
    "isfinite(until) AND greatest(until, pg_postmaster_start_time() + make_interval(secs =>"
    " %(lease)s)) > clock_timestamp()"
)
"""Of a node, whether it may still write. One that has stopped has given its lease back."""

_LOCK: Final = "SELECT FROM nodes ORDER BY name FOR UPDATE"
"""Waits for transactions that have looked for a number already, and for renewals."""

_RUNNING: Final = (
    "SELECT name, identity, host,"  # noqa: S608  constant
    """ to_char(started AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')"""
    f" FROM nodes WHERE {_LIVING}"
)

_OTHERS: Final = f"{_RUNNING} AND (name <> %(name)s OR identity <> %(identity)s) ORDER BY name"

_RUNNING_BESIDE: Final = f"{_RUNNING} AND fence <> own_fence() ORDER BY name"

_SUCCESSOR: Final = (
    f"{_RUNNING} AND name = %(name)s AND identity = %(identity)s AND fence > %(fence)s"
)

_DROP: Final = (
    "DELETE FROM nodes WHERE name <> %(name)s AND (identity = %(identity)s"  # noqa: S608  likewise
    f" OR NOT ({_LIVING}) AND until < clock_timestamp() - %(forgotten)s)"
)

_NEXT: Final = (
    "setval('fences', greatest(nextval('fences'),"
    " (extract(epoch FROM clock_timestamp()) * 1000000)::BIGINT))"
)
"""A new fencing number: at least the microseconds since the epoch, so that none is given again
after a failover or a restore has set the sequence back. A node that has got it earlier runs on."""

_ENTER: Final = (
    "INSERT INTO nodes (name, identity, fence, until, version, schema, host, started)"  # noqa: S608  constant
    f" VALUES (%(name)s, %(identity)s, {_NEXT}, clock_timestamp()"
    " + make_interval(secs => %(lease)s), %(version)s, %(schema)s, %(host)s, clock_timestamp())"
    " ON CONFLICT (name) DO UPDATE SET identity = excluded.identity, fence = excluded.fence,"
    " until = excluded.until, version = excluded.version, schema = excluded.schema,"
    " host = excluded.host, started = excluded.started RETURNING fence"
)

_RENEW: Final = (
    "UPDATE nodes SET until = clock_timestamp() + make_interval(secs => %s) WHERE fence = %s"
)

_DECLARE: Final = "UPDATE nodes SET settings = %s WHERE fence = %s"

_DECLARED: Final = (
    "SELECT name, settings FROM nodes WHERE fence <> %(fence)s AND settings IS NOT NULL"  # noqa: S608  constant
    f" AND {_LIVING} ORDER BY name"
)

_GIVE_BACK: Final = "UPDATE nodes SET until = '-infinity' WHERE fence = %s"

_ABSENT: Final = (
    'SELECT DISTINCT node FROM uploads WHERE "offset" IS NULL AND node <> own_node()'  # noqa: S608  constant
    " AND NOT EXISTS (SELECT FROM nodes WHERE nodes.name = uploads.node AND "
    f"{_LIVING}) ORDER BY node"
)
"""Nodes that are dead, or forgotten, and have left uploads."""

_LOCK_DEAD: Final = "SELECT FROM nodes WHERE name = ANY(%(names)s) ORDER BY name FOR UPDATE"

_STILL_LIVING: Final = f"SELECT name FROM nodes WHERE name = ANY(%(names)s) AND {_LIVING}"  # noqa: S608  constant

_FENCE_OFF: Final = f"UPDATE nodes SET fence = {_NEXT}, until = '-infinity' WHERE name = ANY(%s)"  # noqa: S608  constant

_ADOPT: Final = (
    "UPDATE uploads SET node = own_node(), boot = coalesce(%s, boot)"
    ' WHERE node = ANY(%s) AND "offset" IS NULL'
)
"""Their numbers stay: see `is_left`."""

_SOME_LEFT: Final = (
    'SELECT DISTINCT node FROM uploads WHERE node = own_node() AND "offset" IS NULL'
    " AND fence IS DISTINCT FROM own_fence()"
)


_SCHEMA: Final = "coalesce((to_jsonb(nodes) ->> 'schema')::INTEGER, %(tables)s)"
"""The schema of a node's galileod. Before schema 5, it is that of the tables."""

_OLDER: Final = (
    f"SELECT name, version FROM nodes WHERE {_SCHEMA} < %(oldest)s AND {_LIVING}"  # noqa: S608  constant
    " ORDER BY name"
)

_FENCE_OFF_OLDER: Final = (
    f"UPDATE nodes SET fence = {_NEXT}, until = '-infinity'"  # noqa: S608  likewise
    f" WHERE {_SCHEMA} < %(oldest)s"
)

_ANY_OTHER: Final = f"SELECT FROM nodes WHERE {_LIVING} AND fence <> own_fence()"


def acquire(connection: Connection, me: Me, schema: int, before: int | None) -> int:
    """Get a lease, and a new fencing number, which is returned.

    `schema` is that of this galileod: the tables may have a newer one. `before` is the last number
    that was given to this process. A process with the same identity is an earlier one of this node,
    and loses its lease. Raises LedgerError if it is a later one, or if another node has the name.
    """
    values = {**asdict(me), "schema": schema, **_limits()}
    connection.execute(_LOCK)
    for name, identity, host, since in connection.execute(_OTHERS, values).fetchall():
        if identity == me.identity:
            raise LedgerError(
                f'the node "{name}", which is running, has the same identity: one directory is a'
                " copy of the other; remove .galileod/nodes from the copy"
            )
        if name == me.name:
            raise LedgerError(
                f'another galileod with the name "{name}" uses it, on {host}, since {since}; set'
                " ledger.node, or if it does not run any more, start again in"
                f" {lease.LEASE_SECONDS:g} s"
            )
    if before is not None and (later := successor(connection, me, before)) is not None:
        raise LedgerError(
            f'another galileod with the name "{me.name}" and the identity of this one runs on'
            f" {later.host}, since {later.since}: one directory is a copy of the other; stop one of"
            " them, and if both are to run, set another ledger.node for the copy, and remove"
            " .galileod/nodes there"
        )
    connection.execute(_DROP, values)
    row = connection.execute(_ENTER, values).fetchone()
    if row is None:
        raise LedgerError("the table nodes does not take a row")
    return int(row[0])


def running(connection: Connection) -> Sequence[RunningNode]:
    """The nodes that may write."""
    rows = connection.execute(f"{_RUNNING} ORDER BY name", _limits())
    return [RunningNode(*row) for row in rows]


def running_beside(connection: Connection) -> Sequence[RunningNode]:
    """The nodes that may write, except this one. The transaction is `fenced`."""
    return [RunningNode(*row) for row in connection.execute(_RUNNING_BESIDE, _limits())]


def successor(connection: Connection, me: Me, fence: int) -> RunningNode | None:
    """The process that may write in the place of `me`, and has a later number than `fence`.

    It has the name and the identity of this node, and began while this process ran.
    """
    values = {**asdict(me), "fence": fence, **_limits()}
    row = connection.execute(_SUCCESSOR, values).fetchone()
    return None if row is None else RunningNode(*row)


def renew(connection: Connection, fence: int) -> bool:
    """Renew the lease; False if it is lost."""
    return connection.execute(_RENEW, (lease.LEASE_SECONDS, fence)).rowcount > 0


def declare(connection: Connection, fence: int, settings: Mapping[str, str]) -> None:
    """Tell the others the settings of this node."""
    connection.execute(_DECLARE, (Jsonb(dict(settings)), fence))


def declared(connection: Connection, fence: int) -> Mapping[str, Mapping[str, str]]:
    """The settings of the other nodes that may write, by their names."""
    return dict(connection.execute(_DECLARED, {"fence": fence, **_limits()}).fetchall())


def give_back(connection: Connection, fence: int) -> None:
    """End the lease, so that nobody waits for it. Nothing is to be written any more."""
    connection.execute(_GIVE_BACK, (fence,))


def adopt(connection: Connection, boot: str | None) -> Sequence[str]:
    """See `Node.adopt`.

    `boot` is that of this machine, if what the others have stored is on no machine that may have
    failed, so that all of it is certain; else None.
    """
    own = [name for (name,) in connection.execute(_SOME_LEFT)]
    names = [name for (name,) in connection.execute(_ABSENT, _limits())]
    dead = list[str]()
    if names:
        values = {"names": names, **_limits()}
        connection.execute(_LOCK_DEAD, values)
        living = {name for (name,) in connection.execute(_STILL_LIVING, values)}
        dead = [name for name in names if name not in living]
        connection.execute(_FENCE_OFF, (dead,))
        connection.execute(_ADOPT, (boot, dead))
    return [*own, *dead]


def older(connection: Connection, tables: int, oldest: int) -> list[str]:
    """The nodes that may still write, and whose galileod has an older schema than `oldest`.

    If there is none, such nodes that are taken for dead lose their leases. `tables` is the schema
    of the tables.
    """
    values = {"tables": tables, "oldest": oldest, **_limits()}
    running = connection.execute(_OLDER, values).fetchall()
    if not running:
        connection.execute(_FENCE_OFF_OLDER, values)
    return [f"{name} ({version})" for name, version in running]


def are_gone(connection: Connection) -> bool:
    """Whether this node is the only one that may write, if it is one."""
    return connection.execute(_ANY_OTHER, _limits()).rowcount == 0


def _limits() -> dict[str, object]:
    return {"lease": lease.LEASE_SECONDS, "forgotten": timedelta(days=FORGOTTEN_DAYS)}
