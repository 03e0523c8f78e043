"""Entering uploads whose files are complete: many of them in one transaction."""

import json
import sqlite3
from collections.abc import Collection, Sequence

from galileod.ledger.base import Entered, KeptUpload, StoredUpload, WholeEntry
from galileod.ledger.entering import Entering, key_of, keys_of, tickets_of
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
        keys, once = keys_of(entries), tickets_of(entries)
        found = stored.find_many(connection, keys, now) if keys else {}
        used = tickets.used(connection, once) if once else {}
        super().__init__(entries, now, _known_keys(connection, keys), found, used)
        self._connection = connection
        self._boot = boot

    def _sums(self, users: Collection[str]) -> tuple[Holding, dict[str, Holding]]:
        held = {user: quota.of_user(self._connection, user) for user in users}
        return quota.total(self._connection), held

    def _find(self, key: str) -> KeptUpload | None:
        return kept.find(self._connection, key)

    def _use_tickets(self, entries: Sequence[WholeEntry]) -> None:
        for entry in entries:
            if entry.ticket is not None:
                tickets.use(self._connection, entry.ticket, self._now, key_of(entry))

    def _add(self, entries: Sequence[WholeEntry]) -> None:
        if any(entry.ticket for entry in entries):
            with apart(self._connection):
                self._use_tickets(entries)
                uploads.add(self._connection, entries, self._now, self._boot)
        else:
            uploads.add(self._connection, entries, self._now, self._boot)

    def _replace(self, entry: WholeEntry, key: str) -> None:
        with apart(self._connection):
            uploads.drop_unreleased(self._connection, key)
            self._add([entry])

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
