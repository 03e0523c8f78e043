"""The sums for the quota: what each user holds, and all. Triggers in the schema keep them."""

from collections.abc import Collection
from typing import Final

from galileod.policy.quota import Holding

from . import sums
from .connection import Connection

_TOTAL: Final = f"SELECT {sums.NAMED} FROM totals"  # noqa: S608  constant, as all below

_OF_ALL: Final = (
    f'SELECT NULL AS "user", {sums.NAMED} FROM totals'  # noqa: S608
    f' UNION ALL SELECT "user", {sums.NAMED} FROM holdings WHERE "user" = ANY(%s)'
)

_OF_USER: Final = f'SELECT {sums.NAMED} FROM holdings WHERE "user" = %s'  # noqa: S608

_BY_USER: Final = (
    f'SELECT "user", {sums.NAMED} FROM holdings'  # noqa: S608
    ' WHERE "user" {} %s AND (files > 0 OR uploads > 0 OR kept_uploads > 0)'
    ' ORDER BY "user" LIMIT %s'
)

_ROWS: Final = " UNION ALL ".join(
    (sums.FILE_SUMS.format(table="files"), sums.UPLOAD_SUMS.format(table="uploads"))
)

_NOTHING: Final = ", ".join(f"coalesce(sum({one}), 0)" for one in sums.SUMS)


def total(connection: Connection) -> Holding:
    """What all users hold together."""
    row = connection.execute(_TOTAL).fetchone()
    return Holding(*row) if row else Holding()


def of_user(connection: Connection, user: str) -> Holding:
    """What one user holds."""
    row = connection.execute(_OF_USER, (user,)).fetchone()
    return Holding(*row) if row else Holding()


def of_all(connection: Connection, users: Collection[str]) -> tuple[Holding, dict[str, Holding]]:
    """What all users hold together, and what each of these holds."""
    rows = connection.execute(_OF_ALL, (list(users),))
    held = {user: Holding(*numbers) for user, *numbers in rows}
    return held.get(None, Holding()), {user: held.get(user, Holding()) for user in users}


def by_user(
    connection: Connection, first: str = "", count: int | None = None
) -> dict[str, Holding]:
    """What each user holds, for at most `count` users from `first` on."""
    operator, bound = from_text(first)
    rows = connection.execute(_BY_USER.format(operator), (bound, count))
    return {user: Holding(*numbers) for user, *numbers in rows}


def from_text(first: str) -> tuple[str, str]:
    """The operator and the operand for texts from `first` on.

    PostgreSQL has no text with NUL: from one on are those that are greater than what precedes it.
    """
    before, nul, _ = first.partition("\0")
    return (">" if nul else ">="), before


def rebuild(connection: Connection) -> None:
    """Compute the sums from the files and the uploads."""
    connection.execute("DELETE FROM holdings")
    connection.execute(f"INSERT INTO holdings {sums.by_user(_ROWS)}")
    # Its row stays: it is what all others wait for.
    connection.execute(
        f"UPDATE totals SET ({sums.NAMED}) = (SELECT {_NOTHING} FROM holdings)"  # noqa: S608
    )
