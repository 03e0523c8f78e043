"""Entering uploads whose files are complete: many of them in one transaction."""

from collections.abc import Sequence

import psycopg
from psycopg.pq import TransactionStatus

from galileod.ledger.base import (
    Entered,
    Found,
    KeptUpload,
    KeyTakenError,
    RunningUpload,
    SingleUse,
    WholeEntry,
)
from galileod.ledger.entering import Entering, keys_of
from galileod.policy.quota import Holding

from . import kept, quota, stored, tickets, uploads
from .connection import Connection, apart
from .errors import as_ledger_error


def enter(
    connection: Connection, entries: Sequence[WholeEntry], now: float, boot: str, fence: int | None
) -> list[Entered]:
    """Reserve and promise each upload. See `Ledger.enter_whole`; `fence` is as for `reserve`."""
    return _Entering(connection, entries, now, boot, fence).enter()


def reserve(
    connection: Connection, entry: WholeEntry, now: float, boot: str, fence: int | None
) -> None:
    """Reserve for an upload. See `Ledger.reserve`; `fence` is the number of this node."""
    key = entry.resumable.key if entry.resumable else None
    if entry.ticket is not None:
        tickets.use(connection, entry.ticket, now, key)
    entry.allow(quota.total(connection), quota.of_user(connection, entry.user))
    if key is not None:
        uploads.drop_unreleased(connection, key)
        if fence is not None and stored.find(connection, key, now) is not None:
            raise KeyTakenError("another server has stored it")
    uploads.add(connection, [entry], now, boot)


def find(connection: Connection, key: str, now: float, fence: int | None) -> Found:
    """The upload with this key. See `Ledger.find`; `fence` is the number of this node."""
    return _find(connection, key, fence) or stored.find(connection, key, now)


def _find(connection: Connection, key: str, fence: int | None) -> KeptUpload | RunningUpload | None:
    return kept.find(connection, key) or uploads.find_running(connection, key, fence)


class _Entering(Entering):
    """One batch in PostgreSQL."""

    def __init__(
        self,
        connection: Connection,
        entries: Sequence[WholeEntry],
        now: float,
        boot: str,
        fence: int | None,
    ) -> None:
        keys = keys_of(entries)
        found = stored.find_many(connection, keys, now) if keys else {}
        super().__init__(entries, _known_keys(connection, keys), found)
        self._connection = connection
        self._now = now
        self._boot = boot
        self._fence = fence

    def _total(self) -> Holding:
        return quota.total(self._connection)

    def _of_user(self, user: str) -> Holding:
        return quota.of_user(self._connection, user)

    def _find(self, key: str) -> KeptUpload | RunningUpload | None:
        return _find(self._connection, key, self._fence)

    def _use(self, ticket: SingleUse, key: str) -> None:
        tickets.use(self._connection, ticket, self._now, key)

    def _add(self, entries: Sequence[WholeEntry]) -> None:
        with apart(self._connection):
            uploads.add(self._connection, entries, self._now, self._boot)

    def _reserve(self, entry: WholeEntry) -> None:
        with apart(self._connection):
            reserve(self._connection, entry, self._now, self._boot, self._fence)

    def _promise(self, entry: WholeEntry, identity: str) -> None:
        uploads.promise(self._connection, entry.upload, identity, entry.receipt, entry.sha1)

    def _failure(self, error: Exception) -> Exception:
        if self._connection.info.transaction_status != TransactionStatus.INTRANS:
            raise error  # the server has failed all of it, or is gone
        return as_ledger_error(error) if isinstance(error, psycopg.Error) else error


def _known_keys(connection: Connection, keys: Sequence[str]) -> set[str]:
    """Those of the keys that uploads have which run or are kept."""
    if not keys:
        return set()
    rows = connection.execute("SELECT key FROM uploads WHERE key = ANY(%s)", (list(keys),))
    return {key for (key,) in rows}
