"""Entering uploads whose files are complete, many of them in one transaction, whatever the engine.

What all users and each user hold, and which keys are known, is read once, and then kept up to date.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence

from galileod.policy.quota import Holding

from .base import Entered, KeptUpload, RunningUpload, SingleUse, StoredUpload, WholeEntry


class Entering(ABC):
    """One batch. An engine implements the abstract methods, within a transaction.

    Of the keys of the entries, uploads that run or are kept have those in `known`, and uploads that
    were stored those in `stored`.
    """

    def __init__(
        self,
        entries: Sequence[WholeEntry],
        known: Collection[str],
        stored: Mapping[str, StoredUpload],
    ) -> None:
        self._entries = entries
        self._known = set(known)
        self._stored = stored
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
    def _total(self) -> Holding:
        """What all users hold."""

    @abstractmethod
    def _of_user(self, user: str) -> Holding:
        """What one user holds."""

    @abstractmethod
    def _find(self, key: str) -> KeptUpload | RunningUpload | None:
        """The upload with this key that is kept, or runs at another node."""

    @abstractmethod
    def _use(self, ticket: SingleUse, key: str) -> None:
        """Mark a ticket as used by the upload with this key."""

    @abstractmethod
    def _add(self, entries: Sequence[WholeEntry]) -> None:
        """Add reservations, with what is promised. If that raises, none is added."""

    @abstractmethod
    def _reserve(self, entry: WholeEntry) -> None:
        """Reserve for an upload as `Ledger.reserve`. If that raises, nothing has changed."""

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
        self._by_user.clear()

    def _enter(self, number: int, entry: WholeEntry) -> Entered:
        if entry.reserved:
            if entry.identity is not None:
                self._promise(entry, entry.identity)
            return None
        key = entry.resumable.key if entry.resumable else None
        if key is not None and key in self._stored:
            return self._stored[key]
        if entry.ticket is None and key not in self._known:
            self._allow(entry)
            self._allowed.append(number)
            self._count(entry)
        else:
            self._add_allowed()  # they count, and one may have this key
            if key is not None and (found := self._find(key)) is not None:
                if entry.ticket is not None:  # what is kept is dropped only for one that is valid
                    self._use(entry.ticket, key)
                return found
            self._forget_counts()
            self._reserve(entry)
        if key is not None:
            self._known.add(key)
        return None

    def _allow(self, entry: WholeEntry) -> None:
        if self._all is None:
            self._all = self._total()
        mine = self._by_user.get(entry.user)
        if mine is None:
            mine = self._by_user[entry.user] = self._of_user(entry.user)
        entry.allow(self._all, mine)

    def _count(self, entry: WholeEntry) -> None:
        if self._all is not None:
            self._all = _with_upload(self._all, entry.size)
        self._by_user[entry.user] = _with_upload(self._by_user[entry.user], entry.size)


def keys_of(entries: Sequence[WholeEntry]) -> list[str]:
    """The keys of the entries that are not reserved yet."""
    return [one.resumable.key for one in entries if one.resumable and not one.reserved]


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
