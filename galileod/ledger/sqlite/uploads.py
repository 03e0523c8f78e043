"""The reservations of running uploads, and the receipts promised with them."""

import re
import sqlite3
from collections.abc import Mapping
from typing import Final

from galileod.ledger.base import LedgerError

from . import files, outbox

_NUMBER: Final = re.compile("0|[1-9][0-9]{0,18}")
_MAX_INTEGER: Final = 2**63 - 1
"""The largest number that SQLite stores as such."""


def reserve(connection: sqlite3.Connection, upload: str, user: str, size: int) -> None:
    """Add a reservation."""
    connection.execute(
        "INSERT INTO uploads (upload, user, bytes) VALUES (?, ?, ?)", (upload, user, size)
    )


def promise(connection: sqlite3.Connection, upload: str, identity: str, receipt: str) -> None:
    """Keep the receipt and the file's identity with the reservation."""
    connection.execute(
        "UPDATE uploads SET inode = ?, receipt = ? WHERE upload = ?",
        (_in_column(identity), receipt, upload),
    )


def _in_column(identity: str) -> int | bytes:
    """The value for the column `inode`: a number if `identity` is that of an inode, else a BLOB.

    Earlier snapshots of galileod with the same schema look for inodes as numbers. Other identities
    are not stored as text: the column's type, INTEGER, would turn the text "007" into 7.
    """
    is_number = _NUMBER.fullmatch(identity) and int(identity) <= _MAX_INTEGER
    return int(identity) if is_number else identity.encode()


def commit(connection: sqlite3.Connection, upload: str, name: str, due: float) -> None:
    """Replace a reservation with a file; its promised receipt is due at `due`."""
    row = connection.execute(
        "SELECT user, bytes, receipt FROM uploads WHERE upload = ?", (upload,)
    ).fetchone()
    if row is None:
        raise LedgerError("the upload is not in the ledger")
    user, size, receipt = row
    release(connection, upload)
    files.enter(connection, name, user, size)
    if receipt is not None:
        outbox.add(connection, name, receipt, due)


def release(connection: sqlite3.Connection, upload: str) -> None:
    """Drop a reservation, if there is one."""
    connection.execute("DELETE FROM uploads WHERE upload = ?", (upload,))


def promised(connection: sqlite3.Connection) -> list[tuple[str, int, str]]:
    """Upload, size and identity of each file with a promised receipt."""
    return connection.execute(
        # The cast restores the identity: the decimal digits of a number, the bytes of a BLOB.
        "SELECT upload, bytes, CAST(inode AS TEXT) FROM uploads WHERE inode IS NOT NULL"
    ).fetchall()


def settle_interrupted(
    connection: sqlite3.Connection, on_disk: Mapping[str, int], published: Mapping[str, str]
) -> None:
    """Commit what was published before a crash, and drop all other reservations."""
    for upload, size, identity in promised(connection):
        name = published.get(identity)
        # The filesystem may have given the identity to another file since.
        if name is not None and on_disk.get(name) == size:
            commit(connection, upload, name, 0)
    connection.execute("DELETE FROM uploads")
