"""The reservations of running uploads, and the receipts promised with them."""

import json
import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from attrs import fields

from galileod.ledger.base import LedgerError, StoredUpload, UnknownUploadError, WholeEntry
from galileod.ledger.records import About, Commit

from . import files, objects, outbox, stored, tickets

_RUNNING: Final = "SELECT upload, receipt, key, metadata FROM uploads WHERE offset IS NULL"

_COLUMNS: Final = (
    "upload, user, bytes, inode, receipt, sha1, "
    "sent, folder, place, modified, retention, ticket, meta"
)
"""Of all uploads."""

_RESUMABLE: Final = (
    "key, metadata, name, path, on_conflict, durability, authenticated, began, durable, boot"
)
"""Only of those that may be resumed."""

_UNKNOWN: Final = (None,) * len(fields(About))


def _insert(columns: str) -> str:
    """The statement that adds rows, given as one JSON array of arrays with these columns."""
    values = ", ".join(
        # The type of the column `inode`, INTEGER, would turn the text "007" into 7.
        f"CAST(json_extract(value, '$[{number}]') AS BLOB)"
        if column == "inode"
        else f"json_extract(value, '$[{number}]')"
        for number, column in enumerate(columns.split(", "))
    )
    return f"INSERT INTO uploads ({columns}) SELECT {values} FROM json_each(?)"  # noqa: S608  constant


_ADD: Final = _insert(_COLUMNS)
_ADD_RESUMABLE: Final = _insert(f"{_COLUMNS}, {_RESUMABLE}")


def add(
    connection: sqlite3.Connection, entries: Sequence[WholeEntry], now: float, boot: str
) -> None:
    """Add the reservations of uploads that begin now; with what is promised, if it is.

    This is one statement: nothing of it remains if it fails, and other threads wait once for it.
    """
    rows = [_row(entry, now, boot) for entry in entries]
    # Each value takes a third of a microsecond, also if there is none.
    statement = _ADD_RESUMABLE if any(entry.resumable for entry in entries) else _ADD
    connection.execute(statement, (json.dumps(rows, ensure_ascii=False),))


def _row(entry: WholeEntry, now: float, boot: str) -> Sequence[object]:
    fixed, identity = entry.resumable, entry.identity
    common = entry.upload, entry.user, entry.size, identity, entry.receipt, entry.sha1
    about = _UNKNOWN if entry.about is None else _values(entry.about)
    if fixed is None:
        return *common, *about
    durable = entry.size if identity is not None and fixed.durability == "full" else 0
    return (
        *common,
        *about,
        fixed.key,
        fixed.metadata,
        fixed.name,
        fixed.path,
        fixed.on_conflict,
        fixed.durability,
        fixed.authenticated,
        now,
        durable,
        boot,
    )


def _values(about: About) -> Sequence[object]:
    # `attrs.astuple` takes ten times as long.
    return (
        about.sent,
        about.folder,
        about.place,
        about.modified,
        about.retention,
        about.ticket,
        about.meta,
    )


def drop_unreleased(connection: sqlite3.Connection, key: str) -> None:
    """Drop the reservation with this key, which could not be released when its upload failed."""
    connection.execute("DELETE FROM uploads WHERE key = ? AND offset IS NULL", (key,))


def promise(
    connection: sqlite3.Connection,
    upload: str,
    identity: str,
    receipt: str | None,
    sha1: str | None,
) -> None:
    """Record the receipt, and the file's identity and hash, with the reservation.

    Raises UnknownUploadError.
    """
    changed = connection.execute(
        # The data was made durable before.
        "UPDATE uploads SET inode = ?, receipt = ?, sha1 = ?,"
        " durable = CASE durability WHEN 'full' THEN bytes ELSE durable END"
        " WHERE upload = ? AND offset IS NULL",
        (_blob(identity), receipt, sha1, upload),
    )
    if not changed.rowcount:
        raise _unknown()


def commit(
    connection: sqlite3.Connection, commits: Sequence[Commit], now: float, *, due: float
) -> list[LedgerError | None]:
    """Replace reservations with files, which are stored `now`; their receipts are due at `due`.

    Returns an UnknownUploadError for each that has no reservation.
    """
    rows = _running(connection, [each.upload for each in commits])
    results = list[LedgerError | None]()
    known, keys = list[Commit](), list[str]()
    receipts, remembered = list[tuple[str, str]](), list[tuple[str, StoredUpload, float]]()
    for each in commits:
        row = rows.pop(each.upload, None)
        if row is None:
            results.append(_unknown())
            continue
        receipt, key, metadata = row
        results.append(None)
        known.append(each)
        if receipt is not None:
            receipts.append((each.name, receipt))
        if key is not None:
            keys.append(key)
            if each.remember:
                until = now + each.remember
                remembered.append((key, StoredUpload(metadata, each.name), until))
    files.enter(connection, known, now)
    ended = [each.upload for each in known]
    release(connection, ended)
    objects.forget(connection, ended)
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


def _unknown() -> UnknownUploadError:
    return UnknownUploadError("the upload is not in the ledger")


def _running(connection: sqlite3.Connection, uploads: Sequence[str]) -> dict[str, list[Any]]:
    """Receipt, key and metadata of those of the uploads that have a reservation."""
    if len(uploads) == 1:  # takes half as long
        rows = connection.execute(_RUNNING + " AND upload = ?", uploads)
    else:
        among = " AND upload IN (SELECT value FROM json_each(?))"
        rows = connection.execute(_RUNNING + among, (json.dumps(uploads),))
    return {upload: row for upload, *row in rows}


def _blob(identity: str | None) -> bytes | None:
    # The column's type, INTEGER, would turn the text "007" into 7.
    return None if identity is None else identity.encode()
