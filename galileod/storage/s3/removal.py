"""Removes what is left of an upload that is not continued.

If it is not known whether its file was published, the file stays: by the time of a request that
removes it, a confirmed file may have its name. A rescan reports it.
"""

from functools import partial

import structlog
import trio
from structlog.typing import FilteringBoundLogger

from galileod.ledger.base import LedgerError
from galileod.ledger.objects import ObjectUpload
from galileod.storage.base import CLEANUP_SECONDS
from galileod.storage.errors import StorageError

from .shared import Shared

_log: FilteringBoundLogger = structlog.get_logger()


async def remove(shared: Shared, upload: str) -> None:
    """Abort the multipart upload, remove the tail, and forget the upload, which ends its claim.

    What the object storage does not do within CLEANUP_SECONDS is left for the sweeper; an upload
    whose file may be there is abandoned until then. Works in a cancelled scope, and never raises
    StorageError. Does nothing if the lease is lost: another node may continue the upload.
    """
    if shared.lease.lost.fired:
        return
    with trio.CancelScope(shield=True):  # each step is bounded in time
        try:
            known = await shared.objects.get(upload)
            if known is None:
                return
            removed = False
            with trio.move_on_after(CLEANUP_SECONDS):
                removed = await _remove_from_bucket(shared, known)
            if known.completing and not removed:
                await shared.objects.abandon(upload)
            else:
                await shared.objects.drop(upload)
        except LedgerError as error:
            # The next start removes it.
            _log.warning("ledger.behind", reason=str(error))


async def _remove_from_bucket(shared: Shared, known: ObjectUpload) -> bool:
    if known.multipart is None and known.tail is None and not known.completing:
        return True  # it must not wait until there is a thread for a request
    if known.completing and known.upload in shared.late:
        return False  # its file may be there in a moment
    try:
        await shared.request(partial(remove_from_bucket, shared, known))
    except StorageError as error:
        _log.warning("storage.not_removed", upload=known.upload, reason=str(error))
        return False
    return True


def remove_from_bucket(shared: Shared, known: ObjectUpload) -> None:
    """Abort the multipart upload of an upload, and remove its tail. Blocks.

    Raises StorageError.
    """
    client = shared.client
    if known.multipart is not None and known.name is not None:
        client.abort(shared.key(known.name), known.multipart)
    if known.tail is not None:
        client.delete(known.tail.key)
