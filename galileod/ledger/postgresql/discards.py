"""The uploads that other nodes run, for an administrator: listed, and to be discarded.

The table `discards` has those that are to be discarded, until the node that asks has heard enough.
"""

from collections.abc import Sequence
from typing import Final

from galileod.ledger.elsewhere import Discarding, RunningThere

from .connection import Connection
from .quota import from_text
from .schema import ASKED

FORGOTTEN_SECONDS: Final = 60.0
"""Seconds after which nobody waits for an answer any more: the asking node may be dead."""

_RUNNING: Final = (
    "SELECT upload, \"user\", coalesce(path, place, sent, ''), bytes, coalesce(durable, 0), began,"
    ' node FROM uploads WHERE "offset" IS NULL AND fence <> %s'
)

_FORGET: Final = "DELETE FROM discards WHERE asked < clock_timestamp() - make_interval(secs => %s)"

_ASK: Final = (
    "INSERT INTO discards VALUES (%s, clock_timestamp())"
    " ON CONFLICT (upload) DO UPDATE SET asked = excluded.asked, answer = NULL"
)

_TELL: Final = f"SELECT pg_notify('{ASKED}', %s)"

_LOOK: Final = (
    "SELECT answer, EXISTS (SELECT FROM uploads WHERE uploads.upload = discards.upload"
    ' AND "offset" IS NULL AND fence <> %s) FROM discards WHERE upload = %s'
)

_MINE: Final = (
    'SELECT upload FROM discards JOIN uploads USING (upload) WHERE "offset" IS NULL'
    " AND fence = %s AND answer IS NULL"
    " AND asked > clock_timestamp() - make_interval(secs => %s)"
)


def page(
    connection: Connection, fence: int | None, first: str, count: int
) -> Sequence[RunningThere]:
    """See `Elsewhere.running_from`; `fence` is the number of this node."""
    operator, bound = from_text(first)
    rows = connection.execute(
        f"{_RUNNING} AND upload {operator} %s ORDER BY upload LIMIT %s", (fence, bound, count)
    )
    return [_read(*row) for row in rows]


def ask(connection: Connection, fence: int | None, upload: str) -> RunningThere | None:
    """See `Elsewhere.ask_to_discard`."""
    row = connection.execute(f"{_RUNNING} AND upload = %s", (fence, upload)).fetchone()
    if row is None:
        return None
    found = _read(*row)
    connection.execute(_FORGET, (FORGOTTEN_SECONDS,))
    connection.execute(_ASK, (upload,))
    connection.execute(_TELL, (found.node,))
    return found


def look(connection: Connection, fence: int | None, upload: str) -> Discarding:
    """See `Elsewhere.look_at_discard`."""
    row = connection.execute(_LOOK, (fence, upload)).fetchone()
    if row is None:
        return "ended"  # nobody was asked
    told, runs = row
    if told is None:
        return "running" if runs else "ended"
    return "discarded" if told else "complete"


def withdraw(connection: Connection, upload: str) -> None:
    """See `Elsewhere.withdraw_discard`."""
    connection.execute("DELETE FROM discards WHERE upload = %s", (upload,))


def asked(connection: Connection, fence: int | None) -> Sequence[str]:
    """See `Elsewhere.to_discard`."""
    return [upload for (upload,) in connection.execute(_MINE, (fence, FORGOTTEN_SECONDS))]


def answer(connection: Connection, upload: str, *, discards: bool) -> None:
    """See `Elsewhere.answer`."""
    connection.execute("UPDATE discards SET answer = %s WHERE upload = %s", (discards, upload))


def _read(
    upload: str, user: str, path: str, size: int, durable: int, began: float | None, node: str
) -> RunningThere:
    """From the columns of _RUNNING."""
    return RunningThere(upload, user, path.rpartition("/")[2], size, durable, began, node)
