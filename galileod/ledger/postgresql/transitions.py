"""The rows of uploads that may be resumed: how they begin, and go from running to kept and back.

After a power failure, only the `durable` bytes of a file are certain, and what stands behind them
is cut off when the file is continued. Until then no later start may trust it. So the row's `boot`
stays that of the time before the power failure, until it is certain that the file was continued:
there was a checkpoint since, or it has more than the durable bytes.
"""

from collections.abc import Mapping
from typing import Final

from galileod.ledger.base import UnknownUploadError

from .connection import Connection

_KEEP: Final = (
    'UPDATE uploads SET "offset" = %(offset)s, durable = %(durable)s, until = %(until)s,'
    " inode = NULL, receipt = NULL, sha1 = NULL,"
    " boot = CASE WHEN durable < %(offset)s THEN %(boot)s ELSE boot END"
    ' WHERE upload = %(upload)s AND key IS NOT NULL AND "offset" IS NULL'
    ' RETURNING "user", authenticated'
)

_RECOVER: Final = (
    # A time that is too late is of a clock that was set back.
    'UPDATE uploads SET "offset" = found."offset", durable = least(durable, found."offset"),'
    " inode = NULL, receipt = NULL, sha1 = NULL,"
    " until = CASE WHEN until > %(now)s AND until <= %(latest)s THEN until ELSE %(latest)s END,"
    " node = DEFAULT, fence = DEFAULT"
    ' FROM unnest(%(uploads)s::TEXT[], %(offsets)s::BIGINT[]) AS found (upload, "offset")'
    " WHERE uploads.upload = found.upload AND key IS NOT NULL AND is_left(node, fence)"
)


def checkpoint(connection: Connection, upload: str, durable: int, boot: str) -> None:
    """Record the durable bytes of a running upload. Does nothing if there is none."""
    connection.execute(
        "UPDATE uploads SET durable = %s, boot = %s"
        ' WHERE upload = %s AND key IS NOT NULL AND "offset" IS NULL',
        (durable, boot, upload),
    )


def keep(
    connection: Connection, upload: str, offset: int, durable: int, until: float, boot: str
) -> tuple[str, bool]:
    """Turn a reservation into a kept upload; returns its user, and whether it is a known one.

    Raises UnknownUploadError.
    """
    values = {
        "upload": upload, "offset": offset, "durable": durable, "until": until, "boot": boot,
    }  # fmt: skip
    row = connection.execute(_KEEP, values).fetchone()
    if row is None:
        raise UnknownUploadError(
            "the ledger has no running upload of this name that may be resumed"
        )
    user, authenticated = row
    return str(user), bool(authenticated)


def resume(connection: Connection, upload: str) -> None:
    """Turn a kept upload into a reservation."""
    connection.execute(
        'UPDATE uploads SET "offset" = NULL, until = NULL, node = DEFAULT, fence = DEFAULT'
        " WHERE upload = %s",
        (upload,),
    )


def interrupted(connection: Connection, boot: str) -> Mapping[str, int | None]:
    """The certain bytes of each upload that is left.

    None for all that stands in the file of one that was running.
    """
    rows = connection.execute(
        'SELECT upload, CASE WHEN boot = %s THEN "offset" ELSE durable END FROM uploads'
        " WHERE key IS NOT NULL AND is_left(node, fence)",
        (boot,),
    )
    return dict(rows.fetchall())


def recover(connection: Connection, offsets: Mapping[str, int], now: float, seconds: float) -> None:
    """Keep the uploads in `offsets`, for at most `seconds` from now, and drop all others.

    Of those that are left: what others run or keep stays.
    """
    connection.execute(
        "DELETE FROM uploads WHERE (key IS NULL OR NOT upload = ANY(%s)) AND is_left(node, fence)",
        (list(offsets),),
    )
    values = {
        "uploads": list(offsets), "offsets": list(offsets.values()),
        "now": now, "latest": now + seconds,
    }  # fmt: skip
    connection.execute(_RECOVER, values)
