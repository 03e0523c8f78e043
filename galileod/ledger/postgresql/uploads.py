"""The reservations of running uploads, and the receipts promised with them."""

import json
from collections.abc import Collection, Sequence
from typing import Any, Final

from attrs import fields, frozen

from galileod.ledger.base import (
    LedgerError,
    Resumable,
    RunningUpload,
    StoredUpload,
    UnknownUploadError,
    WholeEntry,
)
from galileod.ledger.records import About, Commit

from . import files, objects, outbox, stored, tickets
from .connection import Connection

_ABOUT: Final = tuple(field.name for field in fields(About))
_FIXED: Final = tuple(field.name for field in fields(Resumable))

_COLUMNS: Final = (
    'upload, "user", bytes, inode, receipt, sha1,'
    f" {', '.join((*_ABOUT, *_FIXED))}, began, durable, boot"
)

_ADD: Final = (
    f"INSERT INTO uploads ({_COLUMNS}) SELECT {_COLUMNS}"  # noqa: S608  constant
    " FROM json_populate_recordset(NULL::uploads, %s::JSON)"
)

_PROMISE: Final = (
    # The data was made durable before.
    "UPDATE uploads SET inode = new.inode, receipt = new.receipt, sha1 = new.sha1,"
    " durable = CASE durability WHEN 'full' THEN bytes ELSE durable END"
    " FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[])"
    " AS new (upload, inode, receipt, sha1)"
    ' WHERE uploads.upload = new.upload AND "offset" IS NULL RETURNING uploads.upload'
)

_ELSEWHERE: Final = (
    'SELECT upload, metadata, node FROM uploads WHERE key = %s AND "offset" IS NULL'
    " AND fence IS DISTINCT FROM %s"
)

_RUNNING: Final = (
    'SELECT upload, receipt, key, metadata FROM uploads WHERE "offset" IS NULL AND upload = ANY(%s)'
)


def add(connection: Connection, entries: Sequence[WholeEntry], now: float, boot: str) -> None:
    """Add the reservations of uploads that begin now; with what is promised, if it is.

    This is one statement: nothing of it remains if it fails.
    """
    rows = [_row(entry, now, boot) for entry in entries]
    connection.execute(_ADD, (json.dumps(rows, ensure_ascii=False),))


def _row(entry: WholeEntry, now: float, boot: str) -> dict[str, object]:
    """The columns that the entry has; NULL is in the others."""
    row: dict[str, object] = {
        "upload": entry.upload,
        "user": entry.user,
        "bytes": entry.size,
        "inode": entry.identity,
        "receipt": entry.receipt,
        "sha1": entry.sha1,
    }
    # `attrs.asdict` takes ten times as long.
    if entry.about is not None:
        row |= {name: getattr(entry.about, name) for name in _ABOUT}
    if entry.resumable is not None:
        row |= {name: getattr(entry.resumable, name) for name in _FIXED}
        certain = entry.identity is not None and entry.resumable.durability == "full"
        row |= {"began": now, "durable": entry.size if certain else 0, "boot": boot}
    return row


def drop_unreleased(connection: Connection, key: str) -> None:
    """Drop the reservation with this key, which could not be released when its upload failed.

    It is one of this process.
    """
    connection.execute(
        'DELETE FROM uploads WHERE key = %s AND "offset" IS NULL'
        " AND fence IS NOT DISTINCT FROM own_fence()",
        (key,),
    )


def find_running(connection: Connection, key: str, fence: int | None) -> RunningUpload | None:
    """The upload with this key that another node runs than the one with this number.

    Also one that an earlier process of this node has left, until it is settled.
    """
    row = connection.execute(_ELSEWHERE, (key, fence)).fetchone()
    return None if row is None else RunningUpload(*row)


@frozen
class Promise:
    """What is recorded with a reservation before its file is published: see `Ledger.promise`."""

    upload: str
    identity: str
    receipt: str | None
    sha1: str | None


def promise(connection: Connection, promises: Sequence[Promise]) -> list[LedgerError | None]:
    """Record receipts, and the identities and hashes of files, with their reservations.

    Returns an UnknownUploadError for each that has no reservation.
    """
    columns = (
        [each.upload for each in promises],
        [each.identity for each in promises],
        [each.receipt for each in promises],
        [each.sha1 for each in promises],
    )
    found = {upload for (upload,) in connection.execute(_PROMISE, columns)}
    return [None if each.upload in found else _unknown() for each in promises]


def commit(
    connection: Connection, commits: Sequence[Commit], now: float, *, due: float
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
    if not known:
        return results
    files.enter(connection, known, now)
    ended = [each.upload for each in known]
    release(connection, ended)
    objects.forget(connection, ended)
    outbox.add(connection, receipts, due)
    tickets.end_use(connection, keys)
    stored.remember(connection, remembered)
    return results


def release(connection: Connection, uploads: Sequence[str]) -> None:
    """Drop reservations or kept uploads, if there are any."""
    connection.execute("DELETE FROM uploads WHERE upload = ANY(%s)", (list(uploads),))


def promised(connection: Connection) -> list[tuple[Any, ...]]:
    """Upload, size and identity of each file that was about to be published, and is left."""
    return connection.execute(
        "SELECT upload, bytes, inode FROM uploads WHERE inode IS NOT NULL AND is_left(node, fence)"
    ).fetchall()


def known(connection: Connection, identities: Collection[str]) -> set[str]:
    """Those of the identities that uploads have promised."""
    rows = connection.execute(
        "SELECT inode FROM uploads WHERE inode = ANY(%s)", (list(identities),)
    )
    return {str(inode) for (inode,) in rows}


def left(connection: Connection) -> set[str]:
    """The uploads that are left, and not kept."""
    rows = connection.execute(
        'SELECT upload FROM uploads WHERE "offset" IS NULL AND is_left(node, fence)'
    )
    return {str(upload) for (upload,) in rows}


def others(connection: Connection) -> set[str]:
    """The uploads that are not left."""
    rows = connection.execute("SELECT upload FROM uploads WHERE is_left(node, fence) IS NOT TRUE")
    return {str(upload) for (upload,) in rows}


def size(connection: Connection, upload: str) -> int | None:
    """The declared size of an upload that is left, if there is one."""
    row = connection.execute(
        "SELECT bytes FROM uploads WHERE upload = %s AND is_left(node, fence)", (upload,)
    ).fetchone()
    return None if row is None else int(row[0])


def _unknown() -> UnknownUploadError:
    return UnknownUploadError("the upload is not in the ledger")


def _running(connection: Connection, uploads: Sequence[str]) -> dict[str, list[Any]]:
    """Receipt, key and metadata of those of the uploads that have a reservation."""
    rows = connection.execute(_RUNNING, (list(uploads),))
    return {upload: row for upload, *row in rows}
