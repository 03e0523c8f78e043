"""Entering uploads whose files are complete: many of them in one transaction."""

import json
import sqlite3
from collections.abc import Sequence

from galileod.ledger.base import Entered, KeptUpload, StoredUpload, WholeEntry
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


class _Entering:
    """One batch. What is held, and which keys are known, is read once, and then kept up to date."""

    def __init__(
        self, connection: sqlite3.Connection, entries: Sequence[WholeEntry], now: float, boot: str
    ) -> None:
        self._connection = connection
        self._entries = entries
        self._now = now
        self._boot = boot
        self._results = list[Entered]()
        self._allowed: list[int] = []  # numbers of entries that are to be added in one statement
        self._total: Holding | None = None
        self._by_user: dict[str, Holding] = {}
        keys = [one.resumable.key for one in entries if one.resumable and not one.reserved]
        self._known = _known_keys(connection, keys)
        self._stored = stored.find_many(connection, keys, now) if keys else {}

    def enter(self) -> list[Entered]:
        """The result of each entry."""
        for number, entry in enumerate(self._entries):
            try:
                self._results.append(self._enter(number, entry))
            except Exception as error:  # noqa: BLE001  it is the result of this entry
                self._results.append(self._failure(error))
        self._add_allowed()
        return self._results

    def _add_allowed(self) -> None:
        """Add the entries that are allowed: together, or if that fails each alone."""
        numbers, self._allowed = self._allowed, []
        if not numbers:
            return
        try:
            self._add(numbers)
        except Exception as error:  # noqa: BLE001  it is the result of one of them
            self._failure(error)
            self._forget_counts()
            for number in numbers:
                self._results[number] = self._add_alone(number)

    def _add_alone(self, number: int) -> Entered:
        try:
            self._allow(self._entries[number])
            self._add([number])
        except Exception as error:  # noqa: BLE001  it is the result of this entry
            return self._failure(error)
        self._count(self._entries[number])
        return None

    def _add(self, numbers: Sequence[int]) -> None:
        entries = [self._entries[number] for number in numbers]
        uploads.add(self._connection, entries, self._now, self._boot)

    def _forget_counts(self) -> None:
        self._total = None
        self._by_user.clear()

    def _failure(self, error: Exception) -> Exception:
        """The result of an entry that has failed."""
        if not self._connection.in_transaction:  # SQLite itself has ended all of it
            raise error
        return as_ledger_error(error) if isinstance(error, sqlite3.Error) else error

    def _enter(self, number: int, entry: WholeEntry) -> Entered:
        connection, identity = self._connection, entry.identity
        if entry.reserved:
            if identity is not None:
                uploads.promise(connection, entry.upload, identity, entry.receipt, entry.sha1)
            return None
        key = entry.resumable.key if entry.resumable else None
        if key in self._stored:
            return self._stored[key]
        if entry.ticket is None and key not in self._known:
            self._allow(entry)
            self._allowed.append(number)
            self._count(entry)
        else:
            self._add_allowed()  # they count, and one may have this key
            if key is not None and (found := kept.find(connection, key)) is not None:
                if entry.ticket is not None:  # what is kept is dropped only for one that is valid
                    tickets.use(connection, entry.ticket, self._now, key)
                return found
            self._forget_counts()
            with apart(connection):
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
