"""Removes what is left of an upload that is not continued."""

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

    What the object storage does not do within CLEANUP_SECONDS is left for the sweeper. Works in a
    cancelled scope, and never raises StorageError.
    """
    with trio.CancelScope(shield=True):  # each step is bounded in time
        try:
            known = await shared.objects.get(upload)
            if known is not None:
                with trio.move_on_after(CLEANUP_SECONDS):
                    await _remove_from_bucket(shared, known)
                await shared.objects.drop(upload)
        except LedgerError as error:
            # The next start removes it.
            _log.warning("ledger.behind", reason=str(error))


async def _remove_from_bucket(shared: Shared, known: ObjectUpload) -> None:
    try:
        await shared.request(partial(remove_from_bucket, shared, known))
    except StorageError as error:
        _log.warning("storage.not_removed", upload=known.upload, reason=str(error))


def remove_from_bucket(shared: Shared, known: ObjectUpload) -> None:
    """Abort the multipart upload of an upload, and remove its tail. Blocks."""
    if known.multipart is not None and known.name is not None:
        shared.client.abort(shared.key(known.name), known.multipart)
    if known.tail is not None:
        shared.client.delete(known.tail.key)
