"""Removes stored files, from the disk and from the ledger."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, Literal, TypeVar

import structlog
import trio
from attrs import frozen
from structlog.typing import FilteringBoundLogger

from galileod.ledger.base import UNKNOWN_USER, Ledger, LedgerError
from galileod.ledger.lease import Lease
from galileod.ledger.records import FileEntry, Removal
from galileod.metrics import Metrics, RemovalReason
from galileod.storage.base import Store
from galileod.storage.errors import StorageError
from galileod.storage.finished import Standing

from .publication import PublicationLock

T = TypeVar("T")

MOST_AT_ONCE: Final = 16
"""Maximum files that are removed while no file can be published: one fsync for each folder."""

Result = Literal["removed", "gone", "changed", "failed"]
"""What became of a file that was to be removed: it is `gone` if it was not on the disk any more,
and `changed` if it is not the file that was stored, and stays."""

MakeReceipt = Callable[[FileEntry, RemovalReason], str | None]
"""Makes the receipt of a removal, for the hook; None if no hook is told."""

_log: FilteringBoundLogger = structlog.get_logger()


@frozen
class Outcome:
    """What became of the file `name`; `reason` says why it is `failed` or `changed`.

    `user` and `size` are those of its record, None without one.
    """

    name: str
    result: Result
    user: str | None = None
    size: int | None = None
    reason: str | None = None


class Remover:
    """Removes files; no file is published meanwhile.

    The file goes first, then its record: if galileod crashes between them, the next start drops the
    record. In the other order, the file would stay without an owner. The receipt for the hook is
    recorded before both. `lease` returns the lease that this node needs for it, and `uncommitted`
    the names of files that are stored, but not recorded yet.
    """

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        publication: PublicationLock,
        metrics: Metrics,
        receipt: MakeReceipt,
        lease: Callable[[], Lease] = Lease.endless,
        uncommitted: Callable[[], Collection[str]] = tuple,
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._publication = publication
        self._metrics = metrics
        self._receipt = receipt
        self._lease = lease
        self._uncommitted = uncommitted

    async def remove_named(self, names: Sequence[str]) -> Sequence[Outcome]:
        """Remove files that an administrator has named, whatever is there under the names.

        A file that is neither on the disk nor in the ledger has failed. Raises LedgerError and
        StorageError.
        """
        outcomes = list[Outcome]()
        for part in _parts(names):
            async with self._publication.hold(part, replaces=True):
                records = await self._ledger.entries(part)
                outcomes += await self._remove(part, records, "removed", told=part)
        return outcomes

    async def remove_recorded(
        self, entries: Sequence[FileEntry], reason: RemovalReason
    ) -> Sequence[Outcome]:
        """Remove files that are still as recorded: with the same record, and of its size.

        The record of one that is gone is dropped; one of another size stays, and belongs to nobody
        from then on. Those whose record has changed are left out, and names under which another
        file is stored that is not recorded yet. Raises LedgerError and StorageError.
        """
        outcomes = list[Outcome]()
        for part in _parts(entries):
            async with self._publication.hold([each.name for each in part], replaces=True):
                records = await self._unchanged(part)
                standings = await self._look(list(records))
                for name in await self._replaced(standings):
                    del records[name], standings[name]
                failed = {
                    name: now for name, now in standings.items() if isinstance(now, StorageError)
                }
                outcomes += [_failed(records[name], error) for name, error in failed.items()]
                changed = {
                    name: now.size
                    for name, now in standings.items()
                    if isinstance(now, Standing) and now.size != records[name].size
                }
                await self._disown([records[name] for name in changed], changed)
                outcomes += [_changed(records[name], size) for name, size in changed.items()]
                names = [name for name in records if name not in changed and name not in failed]
                found = [name for name in names if standings[name] is not None]
                outcomes += await self._remove(names, records, reason, told=found)
        return outcomes

    async def look(self, entries: Sequence[FileEntry]) -> Sequence[Outcome]:
        """What `remove_recorded` would do. Raises StorageError."""
        standings = await self._look([each.name for each in entries])
        outcomes = list[Outcome]()
        for each in entries:
            now = standings[each.name]
            if isinstance(now, StorageError):
                outcomes.append(_failed(each, now))
            elif now is not None and now.size != each.size:
                outcomes.append(_changed(each, now.size))
            else:
                result: Result = "gone" if now is None else "removed"
                outcomes.append(Outcome(each.name, result, each.user, each.size))
        return outcomes

    async def _unchanged(self, entries: Sequence[FileEntry]) -> dict[str, FileEntry]:
        now = await self._ledger.entries([each.name for each in entries])
        return {each.name: each for each in entries if now.get(each.name) == each}

    async def _replaced(
        self, standings: Mapping[str, Standing | StorageError | None]
    ) -> Collection[str]:
        """The names of files that are not recorded yet, since the ledger has failed meanwhile."""
        late = {name for name in self._uncommitted() if name in standings}
        if (elsewhere := self._ledger.elsewhere) is not None:
            names = {
                one: name
                for name, now in standings.items()
                if isinstance(now, Standing)
                for one in now.identities
            }
            late.update(names[one] for one in await elsewhere.promised(names))
        return late

    async def _look(self, names: Sequence[str]) -> dict[str, Standing | StorageError | None]:
        return dict(zip(names, await self._store.look(names), strict=True))

    async def _disown(self, entries: Sequence[FileEntry], sizes: Mapping[str, int]) -> None:
        if not entries:
            return
        await self._ledger.drop_files(entries)
        await self._ledger.enter_found([(each.name, sizes[each.name]) for each in entries])

    async def _remove(
        self,
        names: Sequence[str],
        records: Mapping[str, FileEntry],
        reason: RemovalReason,
        *,
        told: Sequence[str],
    ) -> Sequence[Outcome]:
        """Remove files, and the records of them and of those that are gone.

        The removal of those in `told` is logged, counted, and told to the hook.
        """
        if not names:
            return []
        told_names = frozenset(told)
        removals = {
            name: Removal(entry, self._receipt_of(entry, reason) if name in told_names else None)
            for name in names
            if (entry := records.get(name)) is not None
        }
        outcomes, gone = list[Outcome](), list[Removal]()
        await self._ledger.promise_removals(list(removals.values()))
        # Another node may have stored another file of the name by now, if this one was stopped.
        await self._lease().wait_valid()
        with trio.CancelScope(shield=True):  # the record must follow the file
            for name, result in zip(names, await self._store.remove(names), strict=True):
                removal = removals.get(name)
                user, size = (removal.entry.user, removal.entry.size) if removal else (None, None)
                if isinstance(result, StorageError):
                    outcomes.append(Outcome(name, "failed", user, size, str(result)))
                elif removal is None and not result.found:
                    outcomes.append(Outcome(name, "failed", reason="there is no such file"))
                else:
                    outcomes.append(
                        Outcome(name, "removed" if result.found else "gone", user, size)
                    )
                    if removal is not None:
                        gone.append(removal)
            stay = [one.name for one in outcomes if one.result == "failed"]
            await self._drop(gone, [name for name in stay if name in removals])
        for one in outcomes:
            if one.result in ("removed", "gone") and one.name in told_names:
                self._metrics.file_removed(reason)
                if reason == "expired":
                    _log.info("file.expired", path=one.name, user=one.user)
                else:
                    _log.info("file.removed", path=one.name, user=one.user)
        return outcomes

    def _receipt_of(self, entry: FileEntry, reason: RemovalReason) -> str | None:
        return None if entry.user == UNKNOWN_USER else self._receipt(entry, reason)

    async def _drop(self, removals: Sequence[Removal], stay: Sequence[str]) -> None:
        """Drop records, and remove the folders that are empty now. Raises nothing.

        Files that `stay` could not be removed.
        """
        try:
            if stay:
                await self._ledger.break_promises(stay)
            if not removals:
                return
            empty = await self._ledger.remove_files(removals)
        except LedgerError as error:
            # The records stay until the ledger is next compared with the disk.
            _log.warning("ledger.behind", reason=str(error))
            return
        if not empty:
            return
        try:
            await self._store.remove((), empty)
        except StorageError as error:
            _log.warning("file.not_removed", path=empty[0], user=None, reason=str(error))


def _failed(entry: FileEntry, error: StorageError) -> Outcome:
    return Outcome(entry.name, "failed", entry.user, entry.size, str(error))


def _changed(entry: FileEntry, size: int) -> Outcome:
    reason = f"it has {size} bytes now, and {entry.size} when it was stored"
    return Outcome(entry.name, "changed", entry.user, entry.size, reason)


def _parts(items: Sequence[T]) -> Sequence[Sequence[T]]:
    return [items[first : first + MOST_AT_ONCE] for first in range(0, len(items), MOST_AT_ONCE)]
