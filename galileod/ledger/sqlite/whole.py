"""Entering uploads whose files are complete: many of them in one transaction."""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from galileod.ledger.base import Entered, KeptUpload, StoredUpload, WholeEntry
from galileod.policy.quota import Holding

from . import kept, quota, stored, tickets, uploads
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
    uploads.add(connection, entry, now, boot)


def find(connection: sqlite3.Connection, key: str, now: float) -> KeptUpload | StoredUpload | None:
    """The upload with this key. See `Ledger.find`."""
    return kept.find(connection, key) or stored.find(connection, key, now)


class _Entering:
    """One batch. What is held, and which keys are known, is read once, and then kept up to date."""

    def __init__(
        self, connection: sqlite3.Connection, entries: Sequence[WholeEntry], now: float, boot: str
    ) -> None:
        self._connection = connection
        self._entries = entries
        self._now = now
        self._boot = boot
        self._total: Holding | None = None
        self._by_user: dict[str, Holding] = {}
        keys = [one.resumable.key for one in entries if one.resumable and not one.reserved]
        self._known = _known_keys(connection, keys)
        self._stored = stored.find_many(connection, keys, now) if keys else {}

    def enter(self) -> list[Entered]:
        """The result of each entry."""
        results = list[Entered]()
        for entry in self._entries:
            try:
                results.append(self._enter(entry))
            except Exception as error:
                if not self._connection.in_transaction:  # SQLite itself has ended all of it
                    raise
                results.append(
                    as_ledger_error(error) if isinstance(error, sqlite3.Error) else error
                )
        return results

    def _enter(self, entry: WholeEntry) -> Entered:
        connection, identity = self._connection, entry.identity
        if entry.reserved:
            if identity is not None:
                uploads.promise(connection, entry.upload, identity, entry.receipt)
            return None
        key = entry.resumable.key if entry.resumable else None
        if key in self._stored:
            return self._stored[key]
        if entry.ticket is None and key not in self._known:
            self._allow(entry)
            # One statement, so that nothing of it remains if it fails.
            uploads.add(connection, entry, self._now, self._boot)
            self._count(entry)
        else:
            if key is not None and (found := kept.find(connection, key)) is not None:
                if entry.ticket is not None:  # what is kept is dropped only for one that is valid
                    tickets.use(connection, entry.ticket, self._now, key)
                return found
            self._total = None
            self._by_user.clear()
            with _apart(connection):
                reserve(connection, entry, self._now, self._boot)
        if key is not None:
            self._known.add(key)
        return None

    def _allow(self, entry: WholeEntry) -> None:
        if self._total is None:
            self._total = quota.total(self._connection)
        mine = self._by_user.get(entry.user)
        if mine is None:
            mine = self._by_user[entry.user] = quota.of_user(self._connection, entry.user)
        entry.allow(self._total, mine)

    def _count(self, entry: WholeEntry) -> None:
        if self._total is not None:
            self._total = quota.with_upload(self._total, entry.size)
        mine = self._by_user[entry.user]
        self._by_user[entry.user] = quota.with_upload(mine, entry.size)


def _known_keys(connection: sqlite3.Connection, keys: Sequence[str]) -> set[str]:
    """Those of the keys that uploads have which run or are kept."""
    if not keys:
        return set()
    rows = connection.execute(
        "SELECT key FROM uploads WHERE key IN (SELECT value FROM json_each(?))",
        (json.dumps(keys),),
    )
    return {key for (key,) in rows}


@contextmanager
def _apart(connection: sqlite3.Connection) -> Iterator[None]:
    """A part of a transaction that is undone alone if it raises."""
    connection.execute("SAVEPOINT part")
    try:
        yield
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK TO part")
            connection.execute("RELEASE part")
        raise
    connection.execute("RELEASE part")
