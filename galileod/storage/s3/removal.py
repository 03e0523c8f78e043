"""Removes what is left of an upload that is not continued, and ends its claim.

If a request that publishes its file was given up, the claim lasts until that is settled: a
multipart upload that is aborted cannot be completed any more, and another request is out of date
after LATE_SECONDS. Then the object, if there is one, is removed. Nobody was told of it, and while
its name is claimed it cannot be that of another file.
"""

import time
from collections.abc import Awaitable, Callable
from functools import partial

import structlog
import trio
from attrs import evolve
from structlog.typing import FilteringBoundLogger

from galileod.ledger.base import LedgerError
from galileod.ledger.objects import NameTakenError, ObjectUpload
from galileod.storage.base import CLEANUP_SECONDS
from galileod.storage.errors import StorageError

from .client import is_of
from .doubts import LATE_SECONDS
from .shared import Shared

_log: FilteringBoundLogger = structlog.get_logger()


async def remove(shared: Shared, upload: str, clock: Callable[[], float] = time.time) -> bool:
    """Abort the multipart upload, remove the tail, and forget the upload, which ends its claim.

    What the object storage does not do within CLEANUP_SECONDS is left for the sweeper. One that is
    in doubt is abandoned until that is settled; returns whether it is forgotten. Works in a
    cancelled scope, and never raises StorageError. Does nothing if the lease is lost: another node
    may continue the upload.
    """
    if shared.lease.lost.fired:
        return False
    done = False
    with trio.CancelScope(shield=True):  # each step is bounded in time
        try:
            done = await _remove(shared, upload, clock)
        except LedgerError as error:
            # The next start removes it.
            _log.warning("ledger.behind", reason=str(error))
    return done


async def _remove(shared: Shared, upload: str, clock: Callable[[], float]) -> bool:
    known = await shared.objects.get(upload)
    if known is None:
        return True
    if known.due is None:
        await _try(upload, partial(_remove_from_bucket, shared, known))
    else:
        known = await _abandoned(shared, known)
        if not await _try(upload, partial(_settle, shared, known, clock())):
            shared.doubts.wake()
            return False
    await shared.objects.drop(upload)
    shared.doubts.overwriting.discard(upload)
    return True


async def _try(upload: str, step: Callable[[], Awaitable[bool]]) -> bool:
    """Whether a step is done in time."""
    done = False
    with trio.move_on_after(CLEANUP_SECONDS):
        try:
            done = await step()
        except StorageError as error:
            _log.warning("storage.not_removed", upload=upload, reason=str(error))
    return done


async def _remove_from_bucket(shared: Shared, known: ObjectUpload) -> bool:
    if known.multipart is not None or known.tail is not None:  # else it must not wait for a thread
        await shared.request(partial(remove_from_bucket, shared, known))
    return True


async def _abandoned(shared: Shared, known: ObjectUpload) -> ObjectUpload:
    if known.abandoned:
        return known
    # What replaces nothing is refused once another file has the name.
    overwrites = known.upload in shared.doubts.overwriting
    yields = known.multipart is None and not overwrites
    await shared.objects.abandon(known.upload, yields=yields)
    return evolve(known, abandoned=True)


async def _settle(shared: Shared, known: ObjectUpload, now: float) -> bool:
    """End what is in doubt; returns whether that is done. Raises StorageError."""
    if known.due is None or known.due > now or known.upload in shared.late:
        return False
    await _remove_from_bucket(shared, known)
    if not await _is_there(shared, known):
        return True
    try:
        # In doubt again: its removal may be late as well.
        if not await shared.objects.hold(known.upload, known.due, now + LATE_SECONDS):
            return False
    except NameTakenError:
        return True  # it has replaced a file, or will be replaced; a rescan looks at it
    if await _is_there(shared, known):
        delete = partial(shared.client.delete, shared.key(str(known.name)), once=True)
        await shared.request(delete, shared.threads.lookers)
    return True


async def _is_there(shared: Shared, known: ObjectUpload) -> bool:
    return known.name is not None and is_of(await shared.head(known.name), known.upload)


def remove_from_bucket(shared: Shared, known: ObjectUpload) -> None:
    """Abort the multipart upload of an upload, and remove its tail. Blocks.

    Raises StorageError.
    """
    client = shared.client
    if known.multipart is not None and known.name is not None:
        client.abort(shared.key(known.name), known.multipart)
    if known.tail is not None:
        client.delete(known.tail.key)
