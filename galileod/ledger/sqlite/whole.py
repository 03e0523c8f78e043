"""Entering uploads whose files are complete: many of them in one transaction."""

import json
import sqlite3
from collections.abc import Sequence

from galileod.ledger.base import Entered, KeptUpload, SingleUse, StoredUpload, WholeEntry
from galileod.ledger.entering import Entering, keys_of
from galileod.policy.quota import Holding

from . import kept, quota, stored, tickets, uploads
from .connection import apart
from .errors import as_ledger_error


def enter(
    connection: sqlite3.Connection, entries: Sequence[WholeEntry], now: float, boot: str
) -> list[Entered]:
    """Reserve and promise each upload. See `Ledger.enter_whole`."""
    return _Entering(connection, entries, now, boot).enter()


def reserve(connection: sqlite3.Connection, entry: WholeEntry, now: float, boot: str) -> None:
    """Reserve for an upload. See `Ledger.reserve`."""
    key = entry.resumable.key if entry.resumable else None
    if entry.ticket is not None:
        tickets.use(connection, entry.ticket, now, key)
    entry.allow(quota.total(connection), quota.of_user(connection, entry.user))
    if key is not None:
        uploads.drop_unreleased(connection, key)
    uploads.add(connection, [entry], now, boot)


def find(connection: sqlite3.Connection, key: str, now: float) -> KeptUpload | StoredUpload | None:
    """The upload with this key. See `Ledger.find`."""
    return kept.find(connection, key) or stored.find(connection, key, now)


class _Entering(Entering):
    """One batch in SQLite."""

    def __init__(
        self, connection: sqlite3.Connection, entries: Sequence[WholeEntry], now: float, boot: str
    ) -> None:
        keys = keys_of(entries)
        found = stored.find_many(connection, keys, now) if keys else {}
        super().__init__(entries, _known_keys(connection, keys), found)
        self._connection = connection
        self._now = now
        self._boot = boot

    def _total(self) -> Holding:
        return quota.total(self._connection)

    def _of_user(self, user: str) -> Holding:
        return quota.of_user(self._connection, user)

    def _find(self, key: str) -> KeptUpload | None:
        return kept.find(self._connection, key)

    def _use(self, ticket: SingleUse, key: str) -> None:
        tickets.use(self._connection, ticket, self._now, key)

    def _add(self, entries: Sequence[WholeEntry]) -> None:
        uploads.add(self._connection, entries, self._now, self._boot)

    def _reserve(self, entry: WholeEntry) -> None:
        with apart(self._connection):
            reserve(self._connection, entry, self._now, self._boot)

    def _promise(self, entry: WholeEntry, identity: str) -> None:
        uploads.promise(self._connection, entry.upload, identity, entry.receipt, entry.sha1)

    def _failure(self, error: Exception) -> Exception:
        if not self._connection.in_transaction:  # SQLite itself has ended all of it
            raise error
        return as_ledger_error(error) if isinstance(error, sqlite3.Error) else error


def _known_keys(connection: sqlite3.Connection, keys: Sequence[str]) -> set[str]:
    """Those of the keys that uploads have which run or are kept."""
    if not keys:
        return set()
    rows = connection.execute(
        "SELECT key FROM uploads WHERE key IN (SELECT value FROM json_each(?))",
        (json.dumps(keys),),
    )
    return {key for (key,) in rows}
