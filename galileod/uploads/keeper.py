"""The kept uploads: interrupted ones, until they are resumed, expire, or give way."""

from collections.abc import Collection, Sequence
from functools import partial
from typing import Final, Literal

import structlog
import trio
from attrs import evolve, frozen
from structlog.typing import FilteringBoundLogger

from galileod.files.publication import PublicationLock
from galileod.ledger.base import (
    Entered,
    Found,
    KeptUpload,
    Ledger,
    LedgerError,
    UncertainError,
    UnknownUploadError,
    WholeEntry,
)
from galileod.ledger.lease import LeaseLostError
from galileod.ledger.outage import is_outage, outlast
from galileod.ledger.records import Commit
from galileod.ledger.unavailable import UnavailableError
from galileod.metrics import Metrics
from galileod.policy.settings import Resume
from galileod.storage.base import Store
from galileod.storage.errors import StorageError

EXPIRY_SECONDS: Final = 30.0
"""Seconds between two searches for uploads whose time is over."""

EXPIRY_BATCH: Final = 100
"""Maximum uploads that expire in one transaction of the ledger."""

COMMIT_BATCH: Final = 64
"""Maximum stored uploads that are recorded in one transaction after the ledger has failed."""

MOST_DELAYED: Final = 1000
"""Maximum interrupted and stored uploads that the ledger could not record yet; and of others that
it could not release."""

End = Literal["expired", "evicted", "abandoned"]
"""Why a kept upload is discarded."""

_log: FilteringBoundLogger = structlog.get_logger()


@frozen
class Entry:
    """An interrupted upload: `offset` bytes of it are there, `durable` of them durable."""

    upload: str
    offset: int
    durable: int
    settings: Resume


@frozen
class Published:
    """A stored upload: its Commit, and how it is reserved anew if the ledger has lost that.

    The `identity` of `entry` is that of the file, as of a Sink.
    """

    commit: Commit
    entry: WholeEntry


class Keeper:
    """Finds and discards kept uploads: first the entry in the ledger, then the file.

    Also records what could not be recorded when the ledger failed.

    `any` tells whether there is any kept upload, as of the last change here, and of the last search
    for what other nodes keep; `refresh` must be called once at the start.
    """

    def __init__(
        self, store: Store, ledger: Ledger, publication: PublicationLock, metrics: Metrics
    ) -> None:
        self.any = False
        self._unkept: dict[str, Entry] = {}
        self._uncommitted: dict[str, Published] = {}
        self._unreleased: set[str] = set()
        self._recording = trio.Lock()
        self._store = store
        self._ledger = ledger
        self._publication = publication
        self._metrics = metrics

    @property
    def uncommitted(self) -> Collection[str]:
        """The names of files that are stored, but could not be recorded yet."""
        return {each.commit.name for each in self._uncommitted.values()}

    async def find(self, key: str) -> Found:
        """`Ledger.find`, after what could not be recorded before.

        Raises LedgerError and StorageError.
        """
        await self._record_delayed()
        return await self._ledger.find(key)

    async def keep(self, entry: Entry) -> None:
        """Record an interrupted upload as kept.

        If the ledger fails, as it does on a full disk, that is done later. Raises LedgerError if
        MOST_DELAYED others wait for it; the next start then keeps the upload. Also if the lease is
        lost: then another node keeps it. Also if the ledger has lost its reservation: then its file
        is removed.
        """
        try:
            await self._record(entry)
        except LeaseLostError:
            raise
        except UnknownUploadError:
            await self._store.drop(entry.upload)  # nobody would find it
            raise
        except LedgerError:
            if not self._may_delay():
                raise
            self._unkept[entry.upload] = entry

    def keep_later(self, entry: Entry) -> None:
        """Record an upload as kept that may be so no more, although the ledger has failed."""
        if self._may_delay():
            self._unkept[entry.upload] = entry

    async def enter_whole(self, entries: Sequence[WholeEntry]) -> Sequence[Entered]:
        """`Ledger.enter_whole`, after what could not be recorded before.

        Otherwise a file that is stored, but not recorded, would be stored again by its key. Raises
        LedgerError and StorageError.
        """
        await self._record_delayed()
        try:
            return await self._ledger.enter_whole(entries)
        except UncertainError:
            self.release_later(*(entry.upload for entry in entries))
            raise

    async def release(self, *uploads: str) -> None:
        """`Ledger.release_whole`. Raises LedgerError if the ledger fails.

        That is then done later; if MOST_DELAYED others wait, at the next start.
        """
        try:
            await self._ledger.release_whole(uploads)
        except LeaseLostError:
            raise  # another node releases them
        except LedgerError:
            self.release_later(*uploads)
            raise

    def release_later(self, *uploads: str) -> None:
        """Release uploads that may be reserved, although the ledger has failed."""
        self._unreleased.update(uploads[: MOST_DELAYED - len(self._unreleased)])

    async def commit(self, published: Published) -> None:
        """Replace the reservation of a stored upload by its file, before another has its name.

        If the lease has run out, nobody may be told of the file before that is done: then it
        outlasts an outage of the database. If the reservation is lost, as by a failover, it is made
        again. Raises LedgerError if the ledger fails. It is then done later, so that a client that
        has not heard of it does not store the file twice; if MOST_DELAYED others wait, at the next
        start. If the lease is lost, another node does it.
        """
        node, record = self._ledger.node, partial(self._commit, published)
        try:
            try:
                await record()
            except (UnavailableError, UncertainError):
                if node is None or node.lease.is_valid():
                    raise
                await outlast(node.lease, record)
        except LedgerError as error:
            self._commit_later(published, error)
            raise

    async def commit_whole(self, published: Sequence[Published]) -> Sequence[LedgerError | None]:
        """`commit` for many uploads. Returns what each raises."""
        try:
            results = list(await self._ledger.commit_whole([each.commit for each in published]))
        except LedgerError as failed:
            results = [failed] * len(published)
        for number, each in enumerate(published):
            if isinstance(results[number], UnknownUploadError):
                results[number] = await self._try_again(each)
            if (error := results[number]) is not None:
                self._commit_later(each, error)
        return results

    async def _commit(self, published: Published) -> None:
        """`Ledger.commit`, again if need be: it may have taken effect although it has failed."""
        (error,) = await self._ledger.commit_whole([published.commit])
        if isinstance(error, UnknownUploadError):
            error = await self._try_again(published)
        if error is not None:
            raise error

    async def _try_again(self, published: Published) -> LedgerError | None:
        """`_commit_again`; returns what it raises."""
        try:
            await self._commit_again(published)
        except LedgerError as error:
            return error
        return None

    async def _commit_again(self, published: Published) -> None:
        """Record a stored file that has no reservation, unless it is recorded already.

        Raises LedgerError, UnknownUploadError if it cannot be reserved.
        """
        commit, entry = published.commit, published.entry
        known = (await self._ledger.entries([commit.name])).get(commit.name)
        if commit.gone or (known is not None and known.upload == commit.upload):
            return
        await self._ledger.release_whole([commit.upload])  # it may be kept in an older state
        # Another upload may have got the key meanwhile.
        for attempt in (entry, evolve(entry, resumable=None)):
            (result,) = await self._ledger.enter_whole([attempt])
            if result is None:
                break
        else:
            raise UnknownUploadError("the reservation is lost, and cannot be made again")
        (error,) = await self._ledger.commit_whole([commit])
        if error is not None:
            raise error
        _log.warning(
            "ledger.behind", reason="the reservation of a stored file was lost, and made again"
        )

    def _commit_later(self, published: Published, error: LedgerError) -> None:
        final = isinstance(error, LeaseLostError | UnknownUploadError)
        if not final and self._may_delay():
            self._uncommitted[published.commit.upload] = published

    def forget_delayed(self) -> None:
        """Another node has recorded what could not be recorded here."""
        self._unkept.clear()
        self._uncommitted.clear()
        self._unreleased.clear()

    def _may_delay(self) -> bool:
        return len(self._unkept) + len(self._uncommitted) < MOST_DELAYED

    async def _record(self, entry: Entry) -> None:
        settings = entry.settings
        for oldest in await self._ledger.keep(
            entry.upload, entry.offset, entry.durable, settings.keep, settings.user_uploads
        ):
            await self.drop(oldest, "evicted")
        await self.refresh()

    async def _record_delayed(self) -> None:
        """Record what could not be recorded before. Raises LedgerError and StorageError."""
        if not (self._unkept or self._uncommitted or self._unreleased):
            return
        async with self._recording:
            await self._ledger.total()  # raises if it is away: nobody is to wait for a lock then
            for upload, entry in list(self._unkept.items()):
                try:
                    await self._record(entry)
                except UnknownUploadError as error:  # it was recorded, although the ledger failed
                    _log.warning("ledger.behind", reason=str(error))
                self._unkept.pop(upload, None)
            uncommitted = list(self._uncommitted.values())
            for first in range(0, len(uncommitted), COMMIT_BATCH):
                await self._commit_late(uncommitted[first : first + COMMIT_BATCH])
            if unreleased := list(self._unreleased):
                await self._ledger.release_whole(unreleased)
                self._unreleased.difference_update(unreleased)

    async def _commit_late(self, published: Sequence[Published]) -> None:
        """Commit files that were published a while ago. Raises LedgerError and StorageError.

        Each may have been replaced or removed since, here or by another node: then its name gets no
        entry. One that cannot be looked at waits.
        """
        names = [each.commit.name for each in published]
        async with self._publication.hold(names, replaces=True):
            found = list[Published]()
            for each, now in zip(published, await self._store.look(names), strict=True):
                if isinstance(now, StorageError):
                    _log.warning("ledger.behind", reason=str(now))
                else:
                    gone = now is None or each.entry.identity not in now.identities
                    found.append(evolve(each, commit=evolve(each.commit, gone=gone)))
            results = await self._ledger.commit_whole([each.commit for each in found])
            for each, error in zip(found, results, strict=True):
                if error is not None and (failed := await self._try_again(each)) is not None:
                    if not isinstance(failed, UnknownUploadError):
                        raise failed
                    _log.warning("ledger.behind", reason=str(failed))
                self._uncommitted.pop(each.commit.upload, None)

    async def discard(self, upload: str) -> KeptUpload | None:
        """Discard a kept upload because somebody wants that; None if it is not kept.

        Raises LedgerError.
        """
        found = await self._ledger.discard(upload)
        if found is not None:
            await self.drop(found, "abandoned")
        return found

    async def make_way(self, user: str | None, *, authenticated: bool) -> bool:
        """Discard the kept upload that gives way next; False if there is none.

        `user` and `authenticated` are as for `Ledger.give_way`. Raises LedgerError.
        """
        kept = await self._ledger.give_way(user, authenticated=authenticated)
        if kept is not None:
            await self.drop(kept, "evicted")
        return kept is not None

    async def drop(self, kept: KeptUpload, end: End) -> None:
        """Remove the file of an upload whose entry is gone already, and log it."""
        with trio.CancelScope(shield=True):  # `Store.drop` is bounded in time
            await self._store.drop(kept.upload)
        self._metrics.resume_event(end)
        name, size, user = kept.resumable.name, kept.size, kept.user
        log = _log.bind(upload=kept.upload, name=name, size=size, user=user)
        match end:
            case "expired":
                log.info("upload.expired", offset=kept.offset)
            case "evicted":
                log.info("upload.evicted", offset=kept.offset)
            case "abandoned":
                log.info("upload.abandoned", offset=kept.offset)
        await self.refresh()

    async def refresh(self) -> None:
        """Find out whether there is any kept upload."""
        try:
            self.any = (await self._ledger.total()).kept > 0
        except LedgerError:
            self.any = True  # the next step that depends on it reports the error

    async def run(self) -> None:
        """Discard the uploads whose time is over, until cancelled."""
        while True:
            await trio.sleep(EXPIRY_SECONDS)
            try:
                await self._record_delayed()
                while expired := await self._ledger.expire(EXPIRY_BATCH):
                    for kept in expired:
                        await self.drop(kept, "expired")
                await self.refresh()  # other nodes may have kept uploads
            except (LedgerError, StorageError) as error:
                if not is_outage(error):
                    _log.warning("ledger.behind", reason=str(error))
