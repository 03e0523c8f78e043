"""Files that were sent whole: verified and stored together, each step for all of them at a time."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import structlog
import trio
from attrs import define, field
from structlog.typing import FilteringBoundLogger

from galileod.auth.grant import NOT_VALID, Grant
from galileod.ledger.base import (
    AlreadyUsedError,
    KeptUpload,
    LedgerError,
    RunningUpload,
    StoredUpload,
    WholeEntry,
)
from galileod.policy.quota import QuotaFault
from galileod.protocol.errors import Fault, FaultCode
from galileod.protocol.messages import HashClaim, Metadata
from galileod.protocol.receiver import UploadReceiver
from galileod.storage.base import RUNNING_HASH, Stored
from galileod.storage.whole import WholeFile, Written

from .admission import single_use
from .claims import Claim, make_claim
from .connection import Connection
from .context import Context
from .ending import log_stored
from .faults import interruptible, shutting_down, storage_faults
from .progress import Progress
from .reservation import Reservation, commit_whole
from .upload import Upload, begin
from .verify import compare, kinds_of

T = TypeVar("T")

_log: FilteringBoundLogger = structlog.get_logger()


@define(eq=False)
class Content:
    """The content of a file, the hash that the client `claimed`, and how it came."""

    pieces: Sequence[bytes]
    claimed: HashClaim | None
    progress: Progress


@define(eq=False)
class WholeUpload:
    """A file that is in memory, and what becomes of it. Raises a Fault, as `kinds_of` does.

    `older` are the claims to the same upload whose end is to be waited for before it is stored. If
    it is `elsewhere`, another node has begun to store it: its end is to be waited for, too. At the
    end it is `stored`, now or by an earlier attempt with the same key, or there is an `error`.
    """

    connection: Connection
    upload: Upload
    claim: Claim
    reservation: Reservation
    receiver: UploadReceiver
    content: Content
    older: Sequence[Claim] = ()
    kinds: tuple[str, ...] = field(init=False)
    written: Written | None = field(init=False, default=None)
    entered: bool = field(init=False, default=False)
    elsewhere: bool = field(init=False, default=False)
    stored: Stored | StoredUpload | None = field(init=False, default=None)
    error: Exception | None = field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        required = self.upload.config.hash.required
        self.kinds = kinds_of(self.content.claimed, required=required)

    @property
    def size(self) -> int:
        """The size of the file in bytes."""
        return self.upload.metadata.size

    def file(self) -> WholeFile:
        """What the store is to write."""
        upload, settings = self.upload, self.upload.config.storage
        return WholeFile(
            upload.id,
            upload.path,
            self.content.pieces,
            self.kinds,
            settings.on_conflict,
            settings.durability,
            upload.modified,
        )

    async def entry(self, written: Written) -> WholeEntry:
        """What is recorded before the file is published. Raises LedgerError."""
        upload, sha1 = self.upload, written.digests[RUNNING_HASH]
        receipt = upload.receipt(self.connection.peer, sha1, self.content.claimed)
        self.reservation.receipt = receipt
        promised = receipt is not None or upload.resumable is not None or written.promised
        return WholeEntry(
            upload.id,
            upload.grant.user,
            self.size,
            await self.connection.context.admission.allow(self.reservation),
            single_use(upload.grant),
            upload.resumable,
            written.identity if promised else None,
            receipt,
            self.reservation.reserved,
            upload.about,
            sha1,
        )

    def log_stored(self) -> None:
        """Log and count that it is stored, unless that was an earlier attempt."""
        if isinstance(self.stored, Stored) and self.written is not None:
            sha1 = self.written.digests[RUNNING_HASH]
            claimed, progress = self.content.claimed, self.content.progress
            log_stored(self.connection, self.upload, self.stored, sha1, claimed, progress)


def begin_whole(
    connection: Connection,
    receiver: UploadReceiver,
    metadata: Metadata,
    upload: str,
    grant: Grant,
    content: Content,
    log: FilteringBoundLogger,
) -> WholeUpload:
    """The upload of a further file whose content has come. Raises a Fault, as `begin` does."""
    context, claim = connection.context, Claim()
    if receiver.resumable:
        claim = make_claim(metadata, grant.user, authenticated=not grant.anonymous)
        claim.finished = True
    begun = begin(upload, metadata, grant, context.config, claim, log.bind(user=grant.user))
    reservation = Reservation(context.ledger, context.keeper, begun, lambda: metadata.size)
    whole = WholeUpload(connection, begun, claim, reservation, receiver, content)
    whole.older = context.claims.enter(claim)  # the last step: `leave` must follow it
    return whole


async def admit_whole(context: Context, whole: WholeUpload) -> None:
    """Ask the hook whether a file may be stored, unless an earlier attempt has stored it.

    Raises LedgerError and Faults, as `Asking.admit` does.
    """
    if not whole.upload.config.hooks.admit:
        return
    if whole.claim.key is not None:
        earlier = await context.keeper.find(whole.claim.key)
        if isinstance(earlier, StoredUpload):
            await _use_earlier(context, whole, earlier)
            return
    with interruptible((context.shutdown.no_uploads, shutting_down)):
        whole.upload = await context.asking.admit(whole.upload, whole.connection.peer)
        whole.reservation.upload = whole.upload


async def store_whole(context: Context, batch: Sequence[WholeUpload]) -> None:
    """Store the files of a batch: each is stored then, or has an error, or is elsewhere.

    Raises nothing but Cancelled.
    """
    try:
        with step_of(batch), context.lease.using():
            await _store(context, batch)
    except BaseException:
        await _clean_up(context, batch)
        raise
    await _clean_up(context, [whole for whole in batch if not whole.elsewhere])


async def wait_elsewhere(context: Context, whole: WholeUpload) -> None:
    """Wait for the node that has begun to store a file. Then it can be stored, or has an error.

    Raises nothing but Cancelled.
    """
    whole.elsewhere = False
    try:
        with step_of([whole]):
            await context.handover.wait(whole.claim, whole.upload.config.timeouts.idle)
    except BaseException:
        await _clean_up(context, [whole])
        raise
    if whole.error is not None:
        await _clean_up(context, [whole])


async def _store(context: Context, batch: Sequence[WholeUpload]) -> None:
    await _admit(context, batch)
    await _write(context, batch)
    await _enter(context, batch)
    replacing = [each.upload.path for each in batch if each.written and each.written.replaces]
    async with context.publication.hold(replacing, replaces=bool(replacing)):
        await _publish(context, batch)


async def _admit(context: Context, batch: Sequence[WholeUpload]) -> None:
    """Reserve disk space."""
    held = context.admission.running
    wholes = [
        each for each in _pending(batch) if each.reservation not in held and each.written is None
    ]
    if not wholes:
        return
    with step_of(wholes):
        refused = await context.admission.hold_space([whole.reservation for whole in wholes])
        for whole, error in zip(wholes, refused, strict=True):
            with step_of([whole]):
                if error is not None:
                    raise error


async def _write(context: Context, batch: Sequence[WholeUpload]) -> None:
    """Write the files, and compare their hashes with those of the client."""
    for whole in _unwritten(batch):
        with step_of([whole]):
            await context.room.make(whole.reservation, whole.size)
            whole.reservation.remaining = _nothing  # for the next one, it has come
    wholes = _unwritten(batch)
    with step_of(wholes):
        await context.lease.wait_valid()
        results = await context.store.write_whole([whole.file() for whole in wholes])
        for whole, result in zip(wholes, results, strict=True):
            whole.content.pieces = ()  # their memory is needed
            with step_of([whole]):
                whole.written = _value(result)
                compare(whole.content.claimed, whole.written.digests)
    context.admission.release_space([whole.reservation for whole in batch])


async def _enter(context: Context, batch: Sequence[WholeUpload]) -> None:
    """Reserve the quota, and promise the files; find those that were stored already."""
    again = list[WholeUpload]()
    for whole, fault in await _enter_once(context, _pending(batch)):
        if await context.admission.may_fit_now(fault, whole.upload.grant.user):
            again.append(whole)
        else:
            whole.error = fault
    for whole, fault in await _enter_once(context, again):
        whole.error = fault


async def _enter_once(
    context: Context, wholes: Sequence[WholeUpload]
) -> Sequence[tuple[WholeUpload, QuotaFault]]:
    """Enter files; returns those that a quota has refused."""
    refused = list[tuple[WholeUpload, QuotaFault]]()
    with step_of(wholes):
        entries = [await whole.entry(whole.written) for whole in wholes if whole.written]
        for whole, result in zip(wholes, await context.keeper.enter_whole(entries), strict=True):
            with step_of([whole]):
                match result:
                    case QuotaFault():
                        refused.append((whole, result))
                    case None:
                        whole.entered = True
                    case RunningUpload():
                        whole.claim.check(result.metadata)
                        whole.elsewhere = True
                    case KeptUpload() | StoredUpload():
                        await _use_earlier(context, whole, result)
                    case AlreadyUsedError():
                        raise Fault(FaultCode.UNAUTHORIZED, NOT_VALID)
                    case error:
                        raise error
    return refused


async def _use_earlier(
    context: Context, whole: WholeUpload, earlier: KeptUpload | StoredUpload
) -> None:
    """An earlier attempt with the same key was stored; or a part of it was kept, and is dropped."""
    if isinstance(earlier, StoredUpload):
        whole.claim.check(earlier.metadata)
        whole.stored = earlier
        return
    whole.claim.check(earlier.resumable.metadata)
    await context.keeper.discard(earlier.upload)
    await _enter(context, [whole])


async def _publish(context: Context, batch: Sequence[WholeUpload]) -> None:
    """Publish the files, and replace their reservations by them."""
    wholes = _pending(batch)
    with step_of(wholes):
        await context.lease.wait_valid()
        written = [whole.written for whole in wholes if whole.written]
        for whole, result in zip(wholes, await context.store.publish_whole(written), strict=True):
            with step_of([whole]):
                whole.stored = _value(result)
    published = {
        whole: (whole.reservation, whole.stored, whole.written.digests[RUNNING_HASH])
        for whole in wholes
        if isinstance(whole.stored, Stored) and whole.written
    }
    doubts = await commit_whole(context.keeper, list(published.values()))
    for whole, doubt in zip(published, doubts, strict=True):
        if doubt is not None:  # nothing of it is to be removed or released
            whole.stored, whole.written, whole.entered = None, None, False
            with step_of([whole]):
                raise doubt
    for whole in wholes:
        whole.log_stored()  # before `close` is sent


async def _clean_up(context: Context, batch: Sequence[WholeUpload]) -> None:
    """Discard what was not published, and release what is not used."""
    context.admission.release_space([whole.reservation for whole in batch])
    failed = [whole for whole in batch if not isinstance(whole.stored, Stored)]
    with trio.CancelScope(shield=True):  # both steps are bounded in time
        if written := [whole.written for whole in failed if whole.written]:
            await context.store.discard_whole(written)
        if entered := [whole.upload.id for whole in failed if whole.entered]:
            try:
                await context.keeper.release(*entered)
            except LedgerError as error:
                # The reservations remain until that is made up for.
                _log.warning("ledger.behind", reason=str(error))


def _nothing() -> int:
    return 0


def _pending(batch: Sequence[WholeUpload]) -> list[WholeUpload]:
    return [
        whole
        for whole in batch
        if whole.stored is None and whole.error is None and not whole.elsewhere
    ]


def _unwritten(batch: Sequence[WholeUpload]) -> list[WholeUpload]:
    return [whole for whole in _pending(batch) if whole.written is None]


@contextmanager
def step_of(wholes: Sequence[WholeUpload]) -> Iterator[None]:
    """A step of these files: the block's exception is the error of all that are pending."""
    try:
        with storage_faults():
            yield
    except Exception as error:  # noqa: BLE001  logged when they are answered
        for whole in _pending(wholes):
            whole.error = error


def _value(result: T | Exception) -> T:
    if isinstance(result, Exception):
        raise result
    return result
