"""Admission of uploads: quota, disk space and single-use tickets, held while an upload runs."""

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from copy import copy
from functools import partial
from typing import Final

import structlog
import trio
from attrs import frozen
from structlog.typing import FilteringBoundLogger

from galileod.auth.grant import NOT_VALID, Grant
from galileod.config.model import Config
from galileod.files.quota_check import QuotaCheck
from galileod.ledger.base import (
    Allow,
    AlreadyUsedError,
    KeyTakenError,
    Ledger,
    LedgerError,
    SingleUse,
    UncertainError,
    UnknownUploadError,
)
from galileod.policy.exhausted import Exhausted
from galileod.policy.newfolders import NewFolders
from galileod.policy.publication import OnConflict
from galileod.policy.quota import QuotaFault, check_quota, find_used_up
from galileod.policy.settings import Quota
from galileod.policy.space import check_space, find_no_space
from galileod.protocol.errors import Fault, FaultCode
from galileod.storage.base import Store, Stored
from galileod.storage.errors import StorageError
from galileod.storage.finished import Space

from .faults import LostError
from .keeper import Entry, Keeper
from .reservation import Reservation
from .upload import Upload

EXHAUSTED_SECONDS: Final = 5.0
"""Time limit in seconds for `log_exhausted`: the disk may hang."""

UNLIMITED: Final = Quota()

SAMPLE_SECONDS: Final = 1.0
"""Seconds for which the free space that was found serves for small files, if it is ample."""

AMPLE: Final = 4 * 1024 * 1024 * 1024
"""Bytes of free space, beyond what is needed, that nobody fills within SAMPLE_SECONDS."""

MAX_SAMPLES: Final = 1000
"""Maximum folders of which a sample is remembered. At this number all are forgotten."""

_log: FilteringBoundLogger = structlog.get_logger()


@frozen
class Sample:
    """The `space` for files in a folder, found at the time `at`."""

    at: float
    space: Space


class Admission:
    """Decides whether an upload may begin; `running` are the reservations of those that run.

    `config` returns the configuration in force.
    """

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        keeper: Keeper,
        config: Callable[[], Config],
        quota_check: QuotaCheck,
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._keeper = keeper
        self.running: set[Reservation] = set()
        self._config = config
        self._quota_check = quota_check
        # Of two simultaneous uploads the second is to count the first. If both were added before
        # the check, each would count the other and both could be refused.
        self._checking_space = trio.Lock()
        self._new_folders = NewFolders()
        self._samples: dict[str, Sample] = {}  # by folder

    @asynccontextmanager
    async def admit(
        self, upload: Upload, remaining: Callable[[], int]
    ) -> AsyncIterator[Reservation]:
        """Reserve quota and disk space for an upload during the block.

        `remaining` returns the number of bytes not received yet. Raises Fault if a limit is
        exceeded or the ticket was used, LostError if another node has begun the upload,
        LedgerError if the reservation cannot be recorded, and StorageError if the free space cannot
        be read. If the block raises, the reservation is
        released, or turned into a kept upload: see `Reservation.keep`.
        """
        if (too_many := self._find_too_many_folders(upload)) is not None:
            raise too_many
        reservation = Reservation(self._ledger, self._keeper, upload, remaining)
        async with self._checking_space:
            space = await self._store.free_at(upload.path)
            refused = await self._hold(reservation, space)
        if refused is not None:
            raise refused
        try:
            await self._reserve(reservation)
            reservation.reserved = True
            try:
                yield reservation
            except BaseException:
                await reservation.end()
                raise
        finally:
            self.release_space([reservation])

    async def find_exhausted(self) -> Exhausted | None:
        """The limit because of which every upload is refused, even if no other runs, or None.

        Raises StorageError and LedgerError.
        """
        config = self._config()
        free = await self._store.free()
        if free is not None:
            free += await self._giving_way(anonymous=False)
        no_space = None if free is None else find_no_space(free, config.storage.min_free)
        if no_space is not None:
            return no_space
        used_up = find_used_up(config.quota, await self._ledger.total())
        if used_up is not None and await self._quota_check.ask(None):
            used_up = find_used_up(config.quota, await self._ledger.total())
        return used_up

    async def log_exhausted(self) -> None:
        """Log a warning if every upload is refused because of a limit. Raises nothing."""
        try:
            with trio.move_on_after(EXHAUSTED_SECONDS):
                exhausted = await self.find_exhausted()
                if exhausted:
                    _log.warning("server.exhausted", key=exhausted.key, reason=exhausted.reason)
        except (StorageError, LedgerError):
            pass  # the health check and each upload report it

    @asynccontextmanager
    async def admit_small(
        self, upload: Upload, remaining: Callable[[], int]
    ) -> AsyncIterator[Reservation]:
        """As `admit`, for an upload that stores nothing before all of it has come.

        Without any limit to check, nothing is reserved in the ledger.
        """
        on_conflict = upload.config.storage.on_conflict
        if self._is_limited(upload):
            if on_conflict != "rename":
                await self._store.admit(upload.path, on_conflict)
            async with self.admit(upload, remaining) as reservation:
                yield reservation
            return
        reservation = Reservation(self._ledger, self._keeper, upload, remaining)
        (refused,) = await self.hold_space([reservation], on_conflict)
        if refused is not None:
            raise refused
        try:
            yield reservation
        finally:
            self.release_space([reservation])

    def _is_limited(self, upload: Upload) -> bool:
        """Whether the reservation of an upload may be refused, or be that of another one."""
        grant, quota = upload.grant, self._config().quota
        return quota != UNLIMITED or grant.quota is not None or grant.once is not None

    async def hold_space(
        self, reservations: Sequence[Reservation], on_conflict: OnConflict = "rename"
    ) -> list[Exception | None]:
        """Reserve disk space for small files, until `release_space`.

        With another `on_conflict`, the name of the first one in each folder is checked. Returns an
        error for each that is refused, else None. Raises LedgerError.
        """
        refused = {each: self._find_too_many_folders(each.upload) for each in reservations}
        left = [each for each in reservations if refused[each] is None]
        paths: dict[str, str] = {}  # of the first file in each folder
        for each in left:
            paths.setdefault(folder_of(each), each.upload.path)
        spaces = self._ample(paths) if on_conflict == "rename" else {}
        for each in left:
            if (ample := spaces.get(folder_of(each))) is not None:
                each.filesystem = ample.filesystem
                self.running.add(each)
        unknown = {folder: path for folder, path in paths.items() if folder not in spaces}
        if unknown:
            async with self._checking_space:
                found = await self._look(unknown, on_conflict)
                for each in left:
                    if each not in self.running:
                        space = found[folder_of(each)]
                        if isinstance(space, StorageError):
                            refused[each] = copy(space)
                        else:
                            refused[each] = await self._hold(each, space)
        return list(refused.values())

    def _ample(self, folders: Collection[str]) -> Mapping[str, Space]:
        """The space in those folders where small files may be stored without another look."""
        now, min_free = trio.current_time(), self._config().storage.min_free
        expected = sum(each.upload.metadata.size for each in self.running)
        return {
            folder: sample.space
            for folder in folders
            if (sample := self._samples.get(folder))
            and now - sample.at <= SAMPLE_SECONDS
            and sample.space.free - expected >= min_free + AMPLE
        }

    async def _look(
        self, paths: Mapping[str, str], on_conflict: OnConflict
    ) -> Mapping[str, Space | StorageError | None]:
        """The space in these folders, with the path of a file in each of them."""
        now = trio.current_time()
        spaces = await self._store.admit_all(list(paths.values()), on_conflict)
        found = dict(zip(paths, spaces, strict=True))
        if len(self._samples) + len(found) > MAX_SAMPLES:
            self._samples.clear()
        for folder, space in found.items():
            if isinstance(space, Space):
                self._samples[folder] = Sample(now, space)
        return found

    def release_space(self, reservations: Collection[Reservation]) -> None:
        """Release the disk space of uploads that are written, or have failed."""
        self.running.difference_update(reservations)

    def stored(self, upload: Upload, stored: Stored) -> None:
        """Count the folders that were created for its file."""
        user, made = upload.grant.user, len(stored.made)
        self._new_folders.count(user, made, trio.current_time())

    def _find_too_many_folders(self, upload: Upload) -> Exception | None:
        """The Fault if no more folders are to be created for the user, and one may be needed."""
        if not upload.metadata.folder:
            return None
        try:
            self._new_folders.check(upload.grant.user, trio.current_time())
        except Fault as fault:
            return fault
        return None

    async def _hold(self, reservation: Reservation, space: Space | None) -> Fault | None:
        if space is not None:
            reservation.filesystem = space.filesystem
            expected = sum(
                other.remaining() for other in self.running if other.filesystem == space.filesystem
            )
            free = space.free + await self._free_if_needed(reservation)
            try:
                min_free = self._config().storage.min_free
                check_space(free, expected, reservation.remaining(), min_free)
            except Fault as fault:
                return fault
        self.running.add(reservation)
        return None

    async def _free_if_needed(self, reservation: Reservation) -> int:
        """Bytes of kept uploads that give way to this one, on the same filesystem."""
        upload = reservation.upload
        giving_way = await self._giving_way(anonymous=upload.grant.anonymous)
        if not giving_way:
            return 0
        main = await self._store.free_at("")
        if main is None or main.filesystem != reservation.filesystem:
            return 0
        return max(0, giving_way - (upload.kept.offset if upload.kept else 0))

    async def _giving_way(self, *, anonymous: bool) -> int:
        """Bytes of the kept uploads that give way to an upload."""
        if not self._keeper.any:
            return 0
        if anonymous:
            return await self._ledger.kept_bytes(authenticated=False)
        return (await self._ledger.total()).kept  # without a look at each of them

    async def allow(self, reservation: Reservation) -> Allow:
        """What checks the quota of an upload when it is reserved. Raises LedgerError."""
        upload = reservation.upload
        grant, quota = upload.grant, reservation.quota(self._config())
        pinned = 0
        if self._keeper.any and grant.anonymous and quota.total_bytes is not None:
            every = await self._giving_way(anonymous=False)
            pinned = every - await self._giving_way(anonymous=True)
        return partial(check_quota, quota, upload.metadata.size, pinned=pinned)

    async def may_fit_now(self, refused: QuotaFault, user: str) -> bool:
        """Whether the quota that has refused an upload is to be asked again.

        Files that count to it are looked at on the disk, where some may have been removed by hand.
        """
        return refused.of_files and await self._quota_check.ask(None if refused.all_users else user)

    async def _reserve(self, reservation: Reservation) -> None:
        try:
            await self._reserve_once(reservation)
        except QuotaFault as refused:
            if not await self.may_fit_now(refused, reservation.upload.grant.user):
                raise
            await self._reserve_once(reservation)

    async def _reserve_once(self, reservation: Reservation) -> None:
        upload = reservation.upload
        grant, allow = upload.grant, await self.allow(reservation)
        if (kept := upload.kept) is not None:
            try:
                await self._ledger.resume(upload.id, allow)
            except UnknownUploadError as error:  # discarded since it was found
                raise LostError from error
            except UncertainError:
                as_before = Entry(upload.id, kept.offset, kept.durable, upload.config.resume)
                self._keeper.keep_later(as_before)
                raise
            return
        try:
            await self._ledger.reserve(
                upload.id,
                grant.user,
                upload.metadata.size,
                allow,
                single_use(grant),
                upload.resumable,
                upload.about,
            )
        except AlreadyUsedError:
            raise Fault(FaultCode.UNAUTHORIZED, NOT_VALID) from None
        except KeyTakenError as error:
            raise LostError from error
        except UncertainError:
            self._keeper.release_later(upload.id)
            raise


def folder_of(reservation: Reservation) -> str:
    """The folder of the upload's file."""
    return reservation.upload.path.rpartition("/")[0]


def single_use(grant: Grant) -> SingleUse | None:
    """The ticket that is valid for one upload; None if the credential is not one."""
    return None if grant.once is None else SingleUse(grant.once, grant.until)
