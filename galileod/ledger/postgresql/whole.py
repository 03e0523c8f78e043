"""Reserving many uploads in one transaction, also such whose files are complete."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

import psycopg
from psycopg.pq import TransactionStatus

from galileod.ledger.base import (
    Entered,
    Found,
    KeptUpload,
    KeyTakenError,
    RunningUpload,
    StoredUpload,
    WholeEntry,
)
from galileod.ledger.entering import Entering, key_of, keys_of, tickets_of
from galileod.policy.quota import Holding

from . import kept, quota, stored, tickets, uploads
from .connection import Connection, apart
from .errors import as_ledger_error


def enter(
    connection: Connection, entries: Sequence[WholeEntry], now: float, boot: str, fence: int | None
) -> list[Entered]:
    """Reserve and promise each upload. See `Ledger.enter_whole`; `fence` is as for `find`."""
    known = _stored(connection, entries, now)
    return _Entering(connection, entries, known, now, boot, fence).enter()


def reserve(
    connection: Connection, entries: Sequence[WholeEntry], now: float, boot: str, fence: int | None
) -> list[Entered]:
    """Reserve for each upload. See `Ledger.reserve`; `fence` is as for `find`.

    The result of each is None, or what that raises.
    """
    # Without other nodes, the caller knows what was stored.
    known = {} if fence is None else _stored(connection, entries, now)
    return _Reserving(connection, entries, known, now, boot, fence).enter()


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
        known: Mapping[str, StoredUpload],
        now: float,
        boot: str,
        fence: int | None,
    ) -> None:
        keys, once = keys_of(entries), tickets_of(entries)
        used = tickets.used(connection, once) if once else {}
        super().__init__(entries, now, _known_keys(connection, keys), known, used)
        self._connection = connection
        self._boot = boot
        self._fence = fence

    def _sums(self, users: Collection[str]) -> tuple[Holding, dict[str, Holding]]:
        return quota.of_all(self._connection, users)

    def _find(self, key: str) -> KeptUpload | RunningUpload | None:
        return _find(self._connection, key, self._fence)

    def _use_tickets(self, entries: Sequence[WholeEntry]) -> None:
        uses = [(entry.ticket, key_of(entry)) for entry in entries if entry.ticket is not None]
        if uses:
            tickets.use(self._connection, uses, self._now)

    def _add(self, entries: Sequence[WholeEntry]) -> None:
        with self._apart():
            self._use_tickets(entries)
            uploads.add(self._connection, entries, self._now, self._boot)

    def _replace(self, entry: WholeEntry, key: str) -> None:
        with self._apart():
            uploads.drop_unreleased(self._connection, key)
            self._add([entry])

    def _apart(self) -> AbstractContextManager[None]:
        return apart(self._connection)

    def _promise(self, entry: WholeEntry, identity: str) -> None:
        promise = uploads.Promise(entry.upload, identity, entry.receipt, entry.sha1)
        (error,) = uploads.promise(self._connection, [promise])
        if error is not None:
            raise error

    def _failure(self, error: Exception) -> Exception:
        if self._connection.info.transaction_status != TransactionStatus.INTRANS:
            raise error  # the server has failed all of it, or is gone
        return as_ledger_error(error) if isinstance(error, psycopg.Error) else error


class _Reserving(_Entering):
    """One batch of uploads that begin: none of them goes on with what another one has left."""

    def _apart(self) -> AbstractContextManager[None]:
        return nullcontext()  # the step fails, and is tried for each caller

    def _found(
        self, entry: WholeEntry, found: KeptUpload | RunningUpload | StoredUpload
    ) -> Entered:
        if not isinstance(found, StoredUpload):
            self._check_ticket(entry)
        raise KeyTakenError("another server has begun, kept or stored it")


def _stored(
    connection: Connection, entries: Sequence[WholeEntry], now: float
) -> Mapping[str, StoredUpload]:
    """The uploads that were stored with the keys of the entries."""
    keys = keys_of(entries)
    return stored.find_many(connection, keys, now) if keys else {}


def _known_keys(connection: Connection, keys: Sequence[str]) -> set[str]:
    """Those of the keys that uploads have which run or are kept."""
    if not keys:
        return set()
    rows = connection.execute("SELECT key FROM uploads WHERE key = ANY(%s)", (list(keys),))
    return {key for (key,) in rows}
