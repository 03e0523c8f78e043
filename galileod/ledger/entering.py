"""Reserving many uploads, also such whose files are complete, in one transaction of any engine.

What all users and each user hold, which keys are known, and which tickets were used, is read once,
and then kept up to date.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence

from galileod.policy.quota import Holding

from .base import (
    AlreadyUsedError,
    Entered,
    KeptUpload,
    RunningUpload,
    SingleUse,
    StoredUpload,
    WholeEntry,
)


class Entering(ABC):
    """One batch. An engine implements the abstract methods, within a transaction.

    Of the keys of the entries, uploads that run or are kept have those in `known`, and uploads that
    were stored those in `stored`. Of their tickets, those in `used` were used, for an upload with a
    key or without one.
    """

    def __init__(
        self,
        entries: Sequence[WholeEntry],
        now: float,
        known: Collection[str],
        stored: Mapping[str, StoredUpload],
        used: Mapping[str, str | None],
    ) -> None:
        self._entries = entries
        self._now = now
        self._known = set(known)
        self._stored = stored
        self._used = dict(used)
        self._results = list[Entered]()
        self._allowed: list[int] = []  # numbers of entries that are to be added in one statement
        self._all: Holding | None = None
        self._by_user: dict[str, Holding] = {}

    def enter(self) -> list[Entered]:
        """The result of each entry. See `Ledger.enter_whole`."""
        for number, entry in enumerate(self._entries):
            try:
                self._results.append(self._enter(number, entry))
            except Exception as error:  # noqa: BLE001  it is the result of this entry
                self._results.append(self._failure(error))
        self._add_allowed()
        return self._results

    @abstractmethod
    def _sums(self, users: Collection[str]) -> tuple[Holding, dict[str, Holding]]:
        """What all users hold, and each of these."""

    @abstractmethod
    def _find(self, key: str) -> KeptUpload | RunningUpload | None:
        """The upload with this key that is kept, or runs at another node."""

    @abstractmethod
    def _use_tickets(self, entries: Sequence[WholeEntry]) -> None:
        """Mark the tickets of these entries as used."""

    @abstractmethod
    def _add(self, entries: Sequence[WholeEntry]) -> None:
        """Add reservations, with what is promised, and use their tickets; all or nothing."""

    @abstractmethod
    def _replace(self, entry: WholeEntry, key: str) -> None:
        """`_add` an entry instead of one with this key that was not released; all or nothing."""

    @abstractmethod
    def _promise(self, entry: WholeEntry, identity: str) -> None:
        """Record what an upload promises that is reserved already."""

    @abstractmethod
    def _failure(self, error: Exception) -> Exception:
        """The result of an entry that has failed; raises it if all of the transaction has."""

    def _add_allowed(self) -> None:
        """Add the entries that are allowed: together, or if that fails each alone."""
        numbers, self._allowed = self._allowed, []
        if not numbers:
            return
        try:
            self._add([self._entries[number] for number in numbers])
        except Exception as error:  # noqa: BLE001  it is the result of one of them
            self._failure(error)
            self._forget_counts()
            for number in numbers:
                self._results[number] = self._add_alone(self._entries[number])

    def _add_alone(self, entry: WholeEntry) -> Entered:
        try:
            self._allow(entry)
            self._add([entry])
        except Exception as error:  # noqa: BLE001  it is the result of this entry
            return self._failure(error)
        self._count(entry)
        return None

    def _forget_counts(self) -> None:
        self._all = None

    def _enter(self, number: int, entry: WholeEntry) -> Entered:
        if entry.reserved:
            if entry.identity is not None:
                self._promise(entry, entry.identity)
            return None
        key = key_of(entry)
        if (found := self._taken(key)) is not None:
            return self._found(entry, found)
        self._check_ticket(entry)
        self._allow(entry)
        if key is not None and key in self._known:
            self._replace(entry, key)
            self._forget_counts()
        else:
            self._allowed.append(number)
            self._count(entry)
        if key is not None:
            self._known.add(key)
        if entry.ticket is not None:
            self._used[entry.ticket.id] = key
        return None

    def _taken(self, key: str | None) -> KeptUpload | RunningUpload | StoredUpload | None:
        """The upload that has a key, unless that was not released."""
        if key is None:
            return None
        if key in self._stored:
            return self._stored[key]
        if key not in self._known:
            return None
        self._add_allowed()  # one of them may have it
        return self._find(key)

    def _found(
        self, entry: WholeEntry, found: KeptUpload | RunningUpload | StoredUpload
    ) -> Entered:
        """The result of an entry whose key an upload has."""
        if entry.ticket is not None and not isinstance(found, StoredUpload):
            # What is kept is dropped only for one that is valid.
            self._check_ticket(entry)
            self._use_tickets([entry])
            self._used[entry.ticket.id] = key_of(entry)
        return found

    def _check_ticket(self, entry: WholeEntry) -> None:
        """Raises AlreadyUsedError if another upload has used the ticket, or if it has expired.

        Until it is stored, an upload may use it again: its first connection may have been lost
        before anything came.
        """
        if entry.ticket is None:
            return
        # It may have expired since it was verified. What is known of its use may be gone already.
        if entry.ticket.until <= self._now:
            raise AlreadyUsedError
        if entry.ticket.id in self._used:
            key = self._used[entry.ticket.id]
            if key is None or key != key_of(entry):
                raise AlreadyUsedError

    def _allow(self, entry: WholeEntry) -> None:
        if self._all is None:
            users = {one.user for one in self._entries if not one.reserved}
            self._all, self._by_user = self._sums(users)
        entry.allow(self._all, self._by_user[entry.user])

    def _count(self, entry: WholeEntry) -> None:
        if self._all is not None:
            self._all = _with_upload(self._all, entry.size)
            self._by_user[entry.user] = _with_upload(self._by_user[entry.user], entry.size)


def key_of(entry: WholeEntry) -> str | None:
    """The key of an entry, if it has one."""
    return entry.resumable.key if entry.resumable else None


def keys_of(entries: Sequence[WholeEntry]) -> list[str]:
    """The keys of the entries that are not reserved yet."""
    return [one.resumable.key for one in entries if one.resumable and not one.reserved]


def tickets_of(entries: Sequence[WholeEntry]) -> list[SingleUse]:
    """The tickets of the entries that are not reserved yet."""
    return [one.ticket for one in entries if one.ticket and not one.reserved]


def _with_upload(held: Holding, size: int) -> Holding:
    """What is held with a further upload that runs, of `size` bytes."""
    # `attrs.evolve` takes several times as long.
    return Holding(
        held.bytes,
        held.files,
        held.reserved + size,
        held.uploads + 1,
        held.kept,
        held.kept_uploads,
    )
