"""The end of an upload: logs it, counts it in the metrics, and reports it to the client."""

import logging
from typing import Final

import trio
from attrs import frozen
from structlog.typing import FilteringBoundLogger

from galileod.metrics import DISCONNECTED
from galileod.net.websocket import TransportClosed
from galileod.protocol.errors import Fault, FaultCode
from galileod.protocol.messages import HashClaim
from galileod.protocol.receiver import UploadReceiver
from galileod.protocol.states import ReceiverState
from galileod.storage.base import Stored

from .claims import Claim
from .connection import Connection
from .faults import logged_reason
from .progress import Progress
from .upload import Upload

NORMAL: Final = 1000
GOING_AWAY: Final = 1001
POLICY_VIOLATION: Final = 1008
INTERNAL_ERROR: Final = 1011
"""Close codes of RFC 6455, section 7.4.1."""


@frozen
class Failure:
    """A file was not stored, and its connection is to end.

    `error` is the fault for the client, or says that the connection has ended. What has come is
    kept for `kept` seconds, None if it is discarded.
    """

    receiver: UploadReceiver
    error: Fault | TransportClosed
    kept: int | None = None


def log_stored(
    connection: Connection,
    upload: Upload,
    stored: Stored,
    sha1: str,
    claim: HashClaim | None,
    progress: Progress,
) -> None:
    """Log and count a stored upload."""
    seconds = trio.current_time() - progress.began
    connection.stored += 1
    connection.context.metrics.stored(seconds)
    connection.context.admission.stored(upload, stored)
    upload.log.info(
        "upload.stored",
        path=stored.path,
        sha1=sha1,
        hash_verified=claim is not None,
        seconds=round(seconds, 6),
        bytes_per_second=round(progress.transferred / seconds) if seconds else 0,
        chunks=progress.chunks,
        chunk_min=progress.chunk_min or 0,
        chunk_max=progress.chunk_max,
        in_flight_max=progress.in_flight_max,
    )


def log_stopped(
    connection: Connection, receiver: UploadReceiver, claim: Claim, log: FilteringBoundLogger
) -> None:
    """Log and count an upload that is cancelled because the daemon stops at once."""
    if _is_unfinished(receiver):
        code, reason = FaultCode.SHUTTING_DOWN, "stopped at once"
        _log_ended(connection, receiver, claim, log, code, reason)


def log_failed(
    error: Exception,
    connection: Connection,
    receiver: UploadReceiver,
    claim: Claim,
    log: FilteringBoundLogger,
) -> Failure:
    """Log and count an upload that failed; returns what the client is to be told."""
    if isinstance(error, TransportClosed):
        if _is_unfinished(receiver):
            _log_ended(connection, receiver, claim, log, DISCONNECTED, str(error))
        return Failure(receiver, error)
    fault = log_fault(error, connection, receiver, claim, log)
    kept = claim.kept.seconds if claim.kept else None
    if fault.code is FaultCode.TAKEN_OVER:
        kept = None  # another connection continues it, and this client is not to
    return Failure(receiver, fault, kept)


def log_fault(
    error: Exception,
    connection: Connection,
    receiver: UploadReceiver,
    claim: Claim,
    log: FilteringBoundLogger,
) -> Fault:
    """`log_failed` for an upload whose connection is not lost."""
    fault = error
    if not isinstance(fault, Fault):
        log.error("upload.error", exc_info=error)
        fault = Fault(FaultCode.INTERNAL, "An internal error occurred in the server.")
    _log_ended(connection, receiver, claim, log, fault.code, logged_reason(fault))
    return fault


async def refuse(
    failure: Failure, connection: Connection, *, continues: bool = False
) -> Failure | None:
    """Tell the client that this file failed; a Failure if that ends the connection.

    If it `continues`, it does so after any fault.
    """
    error, receiver = failure.error, failure.receiver
    if isinstance(error, TransportClosed):
        return failure
    if not continues and not connection.continues_after(error, receiver):
        return failure
    connection.await_rest()
    signal = receiver.fail(error, failure.kept, continues=True)
    try:
        await connection.transport.send(signal, timeout=connection.config.timeouts.close)
    except TransportClosed as closed:
        return Failure(receiver, closed)
    return None


async def end_connection(failure: Failure, connection: Connection) -> str:
    """Send the error, and end the connection; returns how it ended."""
    transport, wait, error = connection.transport, connection.config.timeouts.close, failure.error
    if isinstance(error, TransportClosed):
        return await transport.finish(NORMAL, "gone", wait)
    try:
        await transport.send(failure.receiver.fail(error, failure.kept), timeout=wait)
    except TransportClosed as closed:
        return str(closed)
    if error.code is FaultCode.SHUTTING_DOWN:
        # There is no time to wait for the client to close.
        return await transport.finish(GOING_AWAY, error.code, 0)
    close_code = INTERNAL_ERROR if error.code is FaultCode.INTERNAL else POLICY_VIOLATION
    return await transport.finish(close_code, error.code, wait)


def _is_unfinished(receiver: UploadReceiver) -> bool:
    """Whether an upload has begun and is not complete: metadata came, `close` was not sent."""
    return receiver.metadata is not None and receiver.state is not ReceiverState.CLOSED


def _log_ended(
    connection: Connection,
    receiver: UploadReceiver,
    claim: Claim,
    log: FilteringBoundLogger,
    code: str,
    reason: str,
) -> None:
    """Log and count an upload that was not stored on this connection."""
    metrics, offset = connection.context.metrics, receiver.received
    server_error = code in (FaultCode.STORAGE_FAILED, FaultCode.INTERNAL)
    if code == FaultCode.TAKEN_OVER:
        metrics.resume_event("taken_over")
        log.info("upload.taken_over", offset=claim.kept.offset if claim.kept else 0)
    elif code == FaultCode.ABANDONED:
        if receiver.metadata and not receiver.metadata.abandon:  # else `Keeper` has logged it
            metrics.resume_event("abandoned")
            log.info("upload.abandoned", offset=offset)
    elif claim.kept is not None:
        metrics.resume_event("kept")
        if server_error:
            metrics.failed(code)  # for alerts
        log.log(
            logging.ERROR if server_error else logging.INFO,
            "upload.kept",
            offset=claim.kept.offset,
            code=str(code),
            reason=reason,
        )
    else:
        metrics.failed(code)
        log.log(
            logging.ERROR if server_error else logging.WARNING,
            "upload.failed",
            code=str(code),
            reason=reason,
            received=offset,
        )
