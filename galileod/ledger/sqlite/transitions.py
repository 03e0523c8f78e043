"""The rows of uploads that may be resumed: how they begin, and go from running to kept and back.

After a power failure, only the `durable` bytes of a file are certain, and what stands behind them
is cut off when the file is continued. Until then no later start may trust it. So the row's `boot`
stays that of the time before the power failure, until it is certain that the file was continued:
there was a checkpoint since, or it has more than the durable bytes.
"""

import sqlite3
from collections.abc import Mapping

from galileod.ledger.base import UnknownUploadError


def checkpoint(connection: sqlite3.Connection, upload: str, durable: int, boot: str) -> None:
    """Record the durable bytes of a running upload. Does nothing if there is none."""
    connection.execute(
        "UPDATE uploads SET durable = ?, boot = ?"
        " WHERE upload = ? AND key IS NOT NULL AND offset IS NULL",
        (durable, boot, upload),
    )


def keep(
    connection: sqlite3.Connection, upload: str, offset: int, durable: int, until: float, boot: str
) -> tuple[str, bool]:
    """Turn a reservation into a kept upload; returns its user, and whether it is a known one.

    Raises UnknownUploadError.
    """
    row = connection.execute(
        "SELECT user, authenticated FROM uploads"
        " WHERE upload = ? AND key IS NOT NULL AND offset IS NULL",
        (upload,),
    ).fetchone()
    if row is None:
        raise UnknownUploadError(
            "the ledger has no running upload of this name that may be resumed"
        )
    connection.execute(
        "UPDATE uploads SET offset = ?, durable = ?, until = ?,"
        " inode = NULL, receipt = NULL, sha1 = NULL,"
        " boot = CASE WHEN durable < ? THEN ? ELSE boot END WHERE upload = ?",
        (offset, durable, until, offset, boot, upload),
    )
    user, authenticated = row
    return str(user), bool(authenticated)


def resume(connection: sqlite3.Connection, upload: str) -> None:
    """Turn a kept upload into a reservation."""
    connection.execute("UPDATE uploads SET offset = NULL, until = NULL WHERE upload = ?", (upload,))


def interrupted(connection: sqlite3.Connection, boot: str) -> Mapping[str, int | None]:
    """The certain bytes of each upload; None for all that stands in the file of a running one."""
    return dict(
        connection.execute(
            "SELECT upload, CASE WHEN boot = ? THEN offset ELSE durable END FROM uploads"
            " WHERE key IS NOT NULL",
            (boot,),
        )
    )


def recover(
    connection: sqlite3.Connection, offsets: Mapping[str, int], now: float, seconds: float
) -> None:
    """Keep the uploads in `offsets`, for at most `seconds` from now, and drop all others."""
    rows = connection.execute("SELECT upload FROM uploads WHERE key IS NOT NULL").fetchall()
    connection.executemany(
        "DELETE FROM uploads WHERE upload = ?", [row for row in rows if row[0] not in offsets]
    )
    connection.executemany(
        # A time that is too late is of a clock that was set back.
        "UPDATE uploads SET offset = :offset, durable = min(durable, :offset), inode = NULL,"
        " receipt = NULL, sha1 = NULL,"
        " until = CASE WHEN until > :now AND until <= :latest THEN until ELSE :latest END"
        " WHERE upload = :upload AND key IS NOT NULL",
        [
            {"upload": upload, "offset": offset, "now": now, "latest": now + seconds}
            for upload, offset in offsets.items()
        ],
    )
