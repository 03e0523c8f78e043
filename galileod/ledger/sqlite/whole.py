"""The steps of uploads whose files are complete: many of them in one transaction."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from galileod.ledger.base import Entered, KeptUpload, LedgerError, StoredUpload, WholeEntry

from . import kept, quota, stored, tickets, transitions, uploads
from .errors import translated


def enter(
    connection: sqlite3.Connection, entries: Sequence[WholeEntry], now: float, boot: str
) -> list[Entered]:
    """Reserve and promise each upload. See `Ledger.enter_whole`."""
    results = list[Entered]()
    for entry in entries:
        try:
            with _apart(connection):
                results.append(_enter_one(connection, entry, now, boot))
        except Exception as error:
            if not connection.in_transaction:  # SQLite itself has ended all of it
                raise
            results.append(error)
    return results


def reserve(connection: sqlite3.Connection, entry: WholeEntry, now: float, boot: str) -> None:
    """Reserve for an upload. See `Ledger.reserve`."""
    resumable = entry.resumable
    if entry.ticket is not None:
        tickets.use(connection, entry.ticket, now, resumable.key if resumable else None)
    entry.allow(quota.total(connection), quota.of_user(connection, entry.user))
    if resumable is None:
        uploads.reserve(connection, entry.upload, entry.user, entry.size)
    else:
        transitions.reserve(connection, entry.upload, entry.user, entry.size, resumable, now, boot)


def commit(
    connection: sqlite3.Connection, commits: Sequence[tuple[str, str, float]], now: float
) -> list[LedgerError | None]:
    """Replace each reservation with its file. See `Ledger.commit_whole`."""
    results = list[LedgerError | None]()
    for upload, name, remember in commits:
        try:
            with _apart(connection):
                uploads.commit(connection, upload, name, now, now + remember if remember else None)
        except LedgerError as error:
            if not connection.in_transaction:  # likewise
                raise
            results.append(error)
        else:
            results.append(None)
    return results


def release(connection: sqlite3.Connection, names: Sequence[str]) -> None:
    """Drop each reservation, if there is one."""
    for upload in names:
        uploads.release(connection, upload)


def find(connection: sqlite3.Connection, key: str, now: float) -> KeptUpload | StoredUpload | None:
    """The upload with this key. See `Ledger.find`."""
    return kept.find(connection, key) or stored.find(connection, key, now)


def _enter_one(
    connection: sqlite3.Connection, entry: WholeEntry, now: float, boot: str
) -> KeptUpload | StoredUpload | None:
    if not entry.reserved:
        if entry.resumable is not None:
            found = find(connection, entry.resumable.key, now)
            if found is not None:
                return found
        reserve(connection, entry, now, boot)
    if entry.identity is not None:
        uploads.promise(connection, entry.upload, entry.identity, entry.receipt)
    return None


@contextmanager
def _apart(connection: sqlite3.Connection) -> Iterator[None]:
    """A part of a transaction that is undone alone if it raises."""
    connection.execute("SAVEPOINT part")
    try:
        with translated():
            yield
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK TO part")
            connection.execute("RELEASE part")
        raise
    connection.execute("RELEASE part")
