"""The reservations of running uploads, and the receipts promised with them."""

import json
import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from galileod.ledger.base import LedgerError, StoredUpload, UnknownUploadError, WholeEntry

from . import files, outbox, stored, tickets

_RUNNING: Final = (
    "SELECT upload, user, bytes, receipt, key, metadata FROM uploads WHERE offset IS NULL"
)

_ADD: Final = (
    "INSERT INTO uploads (upload, user, bytes, inode, receipt, key, metadata, name, path,"
    " on_conflict, durability, authenticated, began, durable, boot) SELECT"
    # The type of the column `inode`, INTEGER, would turn the text "007" into 7.
    " json_extract(value, '$[0]'), json_extract(value, '$[1]'),"
    " json_extract(value, '$[2]'), CAST(json_extract(value, '$[3]') AS BLOB),"
    " json_extract(value, '$[4]'), json_extract(value, '$[5]'),"
    " json_extract(value, '$[6]'), json_extract(value, '$[7]'),"
    " json_extract(value, '$[8]'), json_extract(value, '$[9]'),"
    " json_extract(value, '$[10]'), json_extract(value, '$[11]'),"
    " json_extract(value, '$[12]'), json_extract(value, '$[13]'),"
    " json_extract(value, '$[14]')"
    " FROM json_each(?)"
)


def add(
    connection: sqlite3.Connection, entries: Sequence[WholeEntry], now: float, boot: str
) -> None:
    """Add the reservations of uploads that begin now; with what is promised, if it is.

    This is one statement: nothing of it remains if it fails, and other threads wait once for it.
    """
    rows = [_row(entry, now, boot) for entry in entries]
    connection.execute(_ADD, (json.dumps(rows, ensure_ascii=False),))


def _row(entry: WholeEntry, now: float, boot: str) -> Sequence[object]:
    about, identity = entry.resumable, entry.identity
    common = entry.upload, entry.user, entry.size, identity, entry.receipt
    if about is None:
        return common
    durable = entry.size if identity is not None and about.durability == "full" else 0
    return (
        *common,
        about.key,
        about.metadata,
        about.name,
        about.path,
        about.on_conflict,
        about.durability,
        about.authenticated,
        now,
        durable,
        boot,
    )


def drop_unreleased(connection: sqlite3.Connection, key: str) -> None:
    """Drop the reservation with this key, which could not be released when its upload failed."""
    connection.execute("DELETE FROM uploads WHERE key = ? AND offset IS NULL", (key,))


def promise(
    connection: sqlite3.Connection, upload: str, identity: str, receipt: str | None
) -> None:
    """Record the receipt and the file's identity with the reservation."""
    connection.execute(
        # The data was made durable before.
        "UPDATE uploads SET inode = ?, receipt = ?,"
        " durable = CASE durability WHEN 'full' THEN bytes ELSE durable END WHERE upload = ?",
        (_blob(identity), receipt, upload),
    )


def commit(
    connection: sqlite3.Connection, commits: Sequence[tuple[str, str, float | None]], due: float
) -> list[LedgerError | None]:
    """Replace reservations with files; their promised receipts are due at `due`.

    `commits` has the upload of each, its name, and until when it is remembered if it is resumable
    (None: not at all). Returns an UnknownUploadError for each that has no reservation.
    """
    rows = _running(connection, [upload for upload, _, _ in commits])
    results = list[LedgerError | None]()
    released, entered, keys = list[str](), list[tuple[str, str, int]](), list[str]()
    receipts, remembered = list[tuple[str, str]](), list[tuple[str, StoredUpload, float]]()
    for upload, name, until in commits:
        row = rows.pop(upload, None)
        if row is None:
            results.append(UnknownUploadError("the upload is not in the ledger"))
            continue
        user, size, receipt, key, metadata = row
        results.append(None)
        released.append(upload)
        entered.append((name, user, size))
        if receipt is not None:
            receipts.append((name, receipt))
        if key is not None:
            keys.append(key)
            if until is not None:
                remembered.append((key, StoredUpload(metadata, name), until))
    release(connection, released)
    files.enter(connection, entered)
    outbox.add(connection, receipts, due)
    tickets.end_use(connection, keys)
    stored.remember(connection, remembered)
    return results


def release(connection: sqlite3.Connection, uploads: Sequence[str]) -> None:
    """Drop reservations or kept uploads, if there are any."""
    connection.execute(
        "DELETE FROM uploads WHERE upload IN (SELECT value FROM json_each(?))",
        (json.dumps(uploads),),
    )


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


def _running(connection: sqlite3.Connection, uploads: Sequence[str]) -> dict[str, list[Any]]:
    """User, size, receipt, key and metadata of those of the uploads that have a reservation."""
    if len(uploads) == 1:  # takes half as long
        rows = connection.execute(_RUNNING + " AND upload = ?", uploads)
    else:
        among = " AND upload IN (SELECT value FROM json_each(?))"
        rows = connection.execute(_RUNNING + among, (json.dumps(uploads),))
    return {upload: row for upload, *row in rows}


def _blob(identity: str | None) -> bytes | None:
    # The column's type, INTEGER, would turn the text "007" into 7.
    return None if identity is None else identity.encode()
