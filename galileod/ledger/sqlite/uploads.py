"""The reservations of running uploads, and the receipts promised with them."""

import sqlite3

from galileod.ledger.base import StoredUpload, UnknownUploadError

from . import files, outbox, stored, tickets


def reserve(connection: sqlite3.Connection, upload: str, user: str, size: int) -> None:
    """Add a reservation."""
    connection.execute(
        "INSERT INTO uploads (upload, user, bytes) VALUES (?, ?, ?)", (upload, user, size)
    )


def promise(
    connection: sqlite3.Connection, upload: str, identity: str, receipt: str | None
) -> None:
    """Record the receipt and the file's identity with the reservation."""
    connection.execute(
        # The data was made durable before. The identity is a BLOB because the column's type,
        # INTEGER, would turn the text "007" into 7.
        "UPDATE uploads SET inode = ?, receipt = ?,"
        " durable = CASE durability WHEN 'full' THEN bytes ELSE durable END WHERE upload = ?",
        (identity.encode(), receipt, upload),
    )


def commit(
    connection: sqlite3.Connection, upload: str, name: str, due: float, until: float | None
) -> None:
    """Replace a reservation with a file; its promised receipt is due at `due`.

    A resumable upload is remembered until `until`, unless that is None. Raises UnknownUploadError
    if there is no such reservation.
    """
    row = connection.execute(
        "SELECT user, bytes, receipt, key, metadata FROM uploads"
        " WHERE upload = ? AND offset IS NULL",
        (upload,),
    ).fetchone()
    if row is None:
        raise UnknownUploadError("the upload is not in the ledger")
    user, size, receipt, key, metadata = row
    release(connection, upload)
    files.enter(connection, name, user, size)
    if receipt is not None:
        outbox.add(connection, name, receipt, due)
    if key is None:
        return
    tickets.end_use(connection, key)
    if until is not None:
        stored.remember(connection, key, StoredUpload(metadata, name), until)


def release(connection: sqlite3.Connection, upload: str) -> None:
    """Drop a reservation or a kept upload, if there is one."""
    connection.execute("DELETE FROM uploads WHERE upload = ?", (upload,))


def promised(connection: sqlite3.Connection) -> list[tuple[str, int, str]]:
    """Upload, size and identity of each file that was about to be published."""
    return connection.execute(
        # The cast restores the identity: the bytes of a BLOB, or the decimal digits of a number,
        # which versions before schema 4 have stored.
        "SELECT upload, bytes, CAST(inode AS TEXT) FROM uploads WHERE inode IS NOT NULL"
    ).fetchall()


def size(connection: sqlite3.Connection, upload: str) -> int | None:
    """The declared size of an upload, if there is one."""
    row = connection.execute("SELECT bytes FROM uploads WHERE upload = ?", (upload,)).fetchone()
    return None if row is None else int(row[0])
