"""The receipts that are owed to the hook.

Several nodes deliver them. A node holds a receipt while it works on it: by the clock of the
database, so that the clocks of the nodes do not matter. Rows of kinds that a hook gets are locked
without a wait, or by the node that holds them, so these transactions cannot lock each other out.
"""

import secrets
from collections.abc import Collection, Container, Iterable, Sequence
from operator import itemgetter
from typing import Final

from galileod.ledger.base import Clock
from galileod.ledger.outbox import KINDS, MOST_COUNTED, Kind, Outbox, Owed
from galileod.policy.backoff import LONGEST

from .connection import Connection
from .database import Database

LOOK_AGAIN: Final = 10.0
"""Seconds after which another node may have entered a receipt, or have lost what it held."""

_PROMISED: Final = "removing"
"""The kind of a receipt of a file that is about to be removed. No hook gets it.

In a statement it is a constant, so that its index is used.
"""

_MOST_CHANGED: Final = 1000
"""Maximum receipts whose due time is corrected at once."""

_ADD: Final = (
    "INSERT INTO outbox (name, receipt, due, kind) SELECT name, receipt, %s, %s"
    " FROM unnest(%s::text[], %s::text[]) WITH ORDINALITY AS owed (name, receipt, at) ORDER BY at"
)

_NOT_HELD: Final = "(holder = %(holder)s OR held_until IS NULL OR held_until < clock_timestamp())"
"""By another node."""

_FIRST: Final = (
    "SELECT number, name, receipt, attempts, due FROM outbox"  # noqa: S608  it is constant
    f" WHERE kind = %(kind)s AND due IS NOT NULL AND {_NOT_HELD}"
    " ORDER BY due, number LIMIT %(most)s FOR UPDATE SKIP LOCKED"
)

_HOLD: Final = (
    "UPDATE outbox SET holder = %s, held_until = clock_timestamp() + %s * interval '1 second'"
    " WHERE number = ANY(%s::bigint[])"
)

_TOO_LATE: Final = (
    "UPDATE outbox SET due = %(now)s WHERE number = ANY(ARRAY(SELECT number FROM outbox"
    " WHERE kind = %(kind)s AND due > %(latest)s ORDER BY due DESC LIMIT %(most)s"
    " FOR UPDATE SKIP LOCKED))"
)

_POSTPONE: Final = (
    "UPDATE outbox SET attempts = attempts + 1, due = %(due)s, holder = NULL, held_until = NULL"  # noqa: S608  likewise
    f" WHERE number = %(number)s AND {_NOT_HELD}"
)

_KEEP: Final = (
    f"UPDATE outbox SET kind = 'removed', due = %s WHERE kind = '{_PROMISED}'"  # noqa: S608  likewise
    " AND name = ANY(%s::text[]) RETURNING name"
)

_BREAK: Final = f"DELETE FROM outbox WHERE kind = '{_PROMISED}' AND name = ANY(%s::text[])"  # noqa: S608  likewise

_SETTLE: Final = (
    f"UPDATE outbox SET kind = 'removed' WHERE kind = '{_PROMISED}'"  # noqa: S608  likewise
    " AND (%s OR NOT EXISTS (SELECT FROM files WHERE files.name = outbox.name))"
)

_RESTART: Final = (
    "UPDATE outbox SET attempts = 0, due = 0 WHERE number IN"  # noqa: S608  likewise
    f" (SELECT number FROM outbox WHERE {_NOT_HELD} FOR UPDATE SKIP LOCKED)"
)


def add(
    connection: Connection,
    receipts: Sequence[tuple[str, str]],
    due: float | None,
    kind: Kind | str = "stored",
) -> None:
    """Add receipts, each with the name of its file, which are due at `due` (since the epoch)."""
    if receipts:
        names, texts = zip(*receipts, strict=True)
        connection.execute(_ADD, (due, kind, list(names), list(texts)))


def promise(connection: Connection, receipts: Sequence[tuple[str, str]]) -> None:
    """Add receipts of files, by name, that are about to be removed: `keep_promises` follows."""
    break_promises(connection, [name for name, _ in receipts])
    add(connection, receipts, None, _PROMISED)


def keep_promises(connection: Connection, names: Sequence[str], due: float) -> set[str]:
    """The files were removed: make their receipts due; returns those of which one was promised."""
    return {name for (name,) in connection.execute(_KEEP, (due, list(names)))}


def break_promises(connection: Connection, names: Iterable[str]) -> None:
    """Drop the receipts that were promised for files which were not removed."""
    connection.execute(_BREAK, (list(names),))


def count(connection: Connection, kinds: Collection[Kind]) -> int:
    """The number of receipts of these kinds, at most MOST_COUNTED."""
    row = connection.execute(
        "SELECT count(*) FROM (SELECT FROM outbox WHERE kind = ANY(%s::text[]) LIMIT %s) AS owed",
        (list(kinds), MOST_COUNTED),
    ).fetchone()
    return int(row[0]) if row else 0


def first(
    connection: Connection,
    most: int,
    kinds: Collection[Kind],
    clock: Clock,
    holder: str,
    hold: float,
) -> Sequence[Owed]:
    """The first `most` receipts of these kinds by due time. See `Outbox.first`."""
    now = clock()
    found = list[tuple[float, int, Owed]]()
    for kind in kinds:
        # No delay is longer than LONGEST. If a due time is later, the clock was set back.
        latest = {"now": now, "kind": kind, "latest": now + LONGEST, "most": _MOST_CHANGED}
        connection.execute(_TOO_LATE, latest)
        rows = connection.execute(_FIRST, {"kind": kind, "holder": holder, "most": most})
        found += [
            (due, number, Owed(number, name, receipt, attempts, max(0.0, due - now), kind))
            for number, name, receipt, attempts, due in rows
        ]
    owed = [one for _, _, one in sorted(found, key=itemgetter(0, 1))[:most]]
    due_now = [one.number for one in owed if not one.wait]
    if hold and due_now:
        connection.execute(_HOLD, (holder, hold, due_now))
    return owed


def delivered(connection: Connection, number: int) -> None:
    """Remove a receipt."""
    connection.execute("DELETE FROM outbox WHERE number = %s", (number,))


def postpone(
    connection: Connection, number: int, seconds: float | None, clock: Clock, holder: str
) -> None:
    """Count a failed attempt, and set the time of the next; not if another node is at it by now."""
    due = None if seconds is None else clock() + seconds
    connection.execute(_POSTPONE, {"due": due, "number": number, "holder": holder})


def restart(connection: Connection, on_disk: Container[str] | None, holder: str) -> None:
    """Make every receipt due and reset its attempts: the hook may have been repaired.

    Those that another node works on stay. Those that were promised for files which are still
    `on_disk` are dropped. Without it, those of files in the ledger stay promised: they become due
    once the record of the file is removed.
    """
    if on_disk is not None:
        promised = connection.execute("SELECT name FROM outbox WHERE kind = %s", (_PROMISED,))
        break_promises(connection, [name for (name,) in promised if name in on_disk])
    connection.execute(_SETTLE, (on_disk is not None,))
    connection.execute(_RESTART, {"holder": holder})


class PostgresqlOutbox(Outbox):
    """The table `outbox`."""

    look_again = LOOK_AGAIN

    def __init__(self, database: Database, clock: Clock) -> None:
        super().__init__()
        self._database = database
        self._clock = clock
        self.holder: Final = secrets.token_hex(8)

    async def count(self, kinds: Collection[Kind] = KINDS) -> int:
        """See `Outbox.count`."""
        return await self._database.read(count, kinds)

    async def first(
        self, most: int, kinds: Collection[Kind] = KINDS, hold: float = 0
    ) -> Sequence[Owed]:
        """See `Outbox.first`."""
        return await self._database.write_apart(first, most, kinds, self._clock, self.holder, hold)

    async def delivered(self, number: int) -> None:
        """See `Outbox.delivered`."""
        await self._database.write_apart(delivered, number)

    async def postpone(self, number: int, seconds: float | None) -> None:
        """See `Outbox.postpone`."""
        await self._database.write_apart(postpone, number, seconds, self._clock, self.holder)
