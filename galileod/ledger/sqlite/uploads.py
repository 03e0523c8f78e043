"""The reservations of running uploads, and the receipts promised with them."""

import sqlite3
from collections.abc import Mapping

from galileod.ledger.base import Find, LedgerError

from . import files, outbox


def reserve(connection: sqlite3.Connection, upload: str, user: str, size: int) -> None:
    """Add a reservation."""
    connection.execute(
        "INSERT INTO uploads (upload, user, bytes) VALUES (?, ?, ?)", (upload, user, size)
    )


def promise(connection: sqlite3.Connection, upload: str, identity: str, receipt: str) -> None:
    """Keep the receipt and the file's identity with the reservation."""
    # A BLOB, since the column's type, which schema 2 made INTEGER, would turn "007" into 7.
    connection.execute(
        "UPDATE uploads SET inode = ?, receipt = ? WHERE upload = ?",
        (identity.encode(), receipt, upload),
    )


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


def settle_interrupted(
    connection: sqlite3.Connection, on_disk: Mapping[str, int], find: Find
) -> None:
    """Commit what was published before a crash, and drop all other reservations."""
    promised = connection.execute(
        # Versions that stored the inode wrote a number.
        "SELECT upload, bytes, CAST(inode AS TEXT) FROM uploads WHERE inode IS NOT NULL"
    ).fetchall()
    names = find({identity for _, _, identity in promised}) if promised else {}
    for upload, size, identity in promised:
        name = names.get(identity)
        # The filesystem may have given the identity to another file since.
        if name is not None and on_disk.get(name) == size:
            commit(connection, upload, name, 0)
    connection.execute("DELETE FROM uploads")
