"""Opens the file of an upload, new or kept, and decides at its end what is kept of it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import trio

from galileod.ledger.base import UnknownUploadError
from galileod.net.websocket import TransportClosed
from galileod.protocol.errors import Fault, FaultCode
from galileod.storage.base import Sink
from galileod.storage.errors import MissingError, StorageError

from .claims import Claim, Kept
from .context import Context
from .faults import LostError
from .reservation import Reservation
from .transfer import Transfer
from .upload import Upload

KEPT_AFTER: Final = frozenset(
    {
        FaultCode.IDLE,
        FaultCode.TOO_SLOW,
        FaultCode.BUSY,
        FaultCode.SHUTTING_DOWN,
        FaultCode.NO_SPACE,
        FaultCode.QUOTA_EXCEEDED,
        FaultCode.STORAGE_FAILED,
        FaultCode.CONFLICT,
        FaultCode.HASH_REQUIRED,
        FaultCode.UNSUPPORTED_HASH,
        FaultCode.INTERNAL,
        FaultCode.UNAUTHORIZED,
        FaultCode.TAKEN_OVER,
    }
)
"""The faults after which an upload is kept. After all others, it is discarded."""


@asynccontextmanager
async def open_upload(
    context: Context, transfer: Transfer, claim: Claim
) -> AsyncIterator[tuple[Sink, Reservation]]:
    """The sink of an upload, and its reservation, for the block.

    If the block raises, the upload is kept or discarded; `claim.kept` says what is kept. Raises
    LostError, and what `Admission.admit`, `Store.create` and `Store.reopen` raise.
    """
    upload = transfer.upload
    admitted: Reservation | None = None
    try:
        async with context.admission.admit(upload, lambda: transfer.remaining) as reservation:
            admitted = reservation
            try:
                async with await _open(context, upload) as sink:
                    sink.modified = upload.modified
                    # From now on, the file is what this connection makes of it.
                    reservation.discard()
                    try:
                        with transfer.begun(sink):
                            yield sink, reservation
                    except BaseException as error:
                        if upload.keeps and not reservation.published and is_kept_after(error):
                            await _suspend(sink, reservation, transfer, error)
                        raise
            except MissingError as error:
                reservation.discard()
                upload.log.warning("upload.not_kept", reason=str(error))
                await context.store.drop(upload.id)  # what another program has put in its place
                raise LostError from error
    except LostError:
        raise  # nothing is kept of it
    except BaseException:
        # What was kept before still is if it is not admitted.
        before = upload.kept.offset if upload.kept else 0
        offset = before if admitted is None else admitted.kept_bytes
        if offset:
            claim.kept = Kept(offset, upload.keep_seconds)
        raise


def is_kept_after(error: BaseException) -> bool:
    """Whether an upload that ended with `error` is kept."""
    match error:
        case Fault(code=code):
            return code in KEPT_AFTER
        case TransportClosed() | trio.Cancelled():
            return True
        case UnknownUploadError():
            return False  # the ledger has lost its row, so nobody would find what is kept
    return isinstance(error, Exception)  # a failure of the storage, or a defect: see `log_failed`


async def _open(context: Context, upload: Upload) -> Sink:
    kept = upload.kept
    if kept is None:
        size = upload.metadata.size
        return await context.store.create(upload.id, upload.path, size=size)
    fixed = kept.resumable
    sink = await context.store.reopen(upload.id, fixed.path, fixed.on_conflict, fixed.durability)
    if sink.offset > min(kept.offset, upload.metadata.size):
        await sink.discard()
        raise MissingError("another program has written to the file")
    return sink


async def _suspend(
    sink: Sink, reservation: Reservation, transfer: Transfer, cause: BaseException
) -> None:
    """Write what has come, and keep the file; if the storage fails, discard it.

    If another node has taken over, it keeps what it has found.
    """
    if transfer.connection.context.lease.lost.fired:
        reservation.keep(sink.offset, 0)
        return
    with trio.CancelScope(shield=True):  # both steps are bounded in time
        try:
            # If the connection has further files, its client sends the rest again.
            if not transfer.connection.continues_after(cause, transfer.receiver):
                pieces = await transfer.take_rest()
                if pieces:
                    await sink.write(pieces)
        except StorageError:
            pass  # what came before is kept; `suspend` finds out whether it is sound
        try:
            if sink.offset:
                durable = await sink.suspend()
                reservation.keep(sink.offset, durable)
        except StorageError as error:
            reservation.upload.log.warning("upload.not_kept", reason=str(error))
