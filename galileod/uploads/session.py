"""The files of one connection: each from its metadata to `close`, the steps in order."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial

import trio

from galileod.ledger.outage import outlast
from galileod.protocol.messages import Metadata
from galileod.protocol.receiver import UploadReceiver
from galileod.storage.base import Stored

from .claims import Claim, make_claim, taken_over
from .connection import Connection
from .earlier import extensions, find_upload
from .ending import NORMAL, Failure, end_connection, log_failed, log_stopped, log_stored, refuse
from .faults import LostError, interruptible, shutting_down, storage_faults
from .further import Further
from .opening import open_upload
from .small import is_small, receive_and_store
from .transfer import Transfer
from .upload import Upload
from .verify import verify


async def serve_files(connection: Connection) -> str:
    """Receive and store the files of one connection, then end it; returns how it ended.

    Every error is logged and sent to the client. Only cancellation is raised.
    """
    receiver = UploadReceiver(extensions(connection.context.config))
    try:
        metadata = await connection.expect_metadata(receiver)
        failure = await serve_file(connection, receiver, metadata)
        if failure is None and connection.limits is not None:
            failure = await Further(connection, connection.limits, receiver, serve_file).serve()
    except Exception as error:  # noqa: BLE001  log_failed logs what is unexpected
        failure = log_failed(error, connection, receiver, Claim(), connection.log)
    finally:
        connection.release()
    if failure is not None:
        return await end_connection(failure, connection)
    return await connection.transport.finish(NORMAL, "stored", connection.config.timeouts.close)


async def serve_file(
    connection: Connection,
    receiver: UploadReceiver,
    metadata: Metadata,
    received: Callable[[], None] = lambda: None,
) -> Failure | None:
    """Receive and store one file, and answer it; a Failure if the connection is to end.

    `received` is called when `finished` has come, after which the connection's next file may be
    received. Every error is logged. Only cancellation is raised.
    """
    context, transport = connection.context, connection.transport
    config = context.config
    log, claim, new_id = connection.log, Claim(), context.new_id()
    try:
        log = log.bind(upload=new_id, name=metadata.name, size=metadata.size)
        grant = await connection.authorize(metadata, receiver, log)
        log = log.bind(user=grant.user)
        if not receiver.number:
            connection.offer_next(receiver, grant)
        if receiver.resumable:
            claim = make_claim(metadata, grant.user, authenticated=not grant.anonymous)
        async with context.claims.hold(
            claim, config.timeouts.idle, partial(connection.unless_ended, receiver)
        ):
            close = None
            while close is None:
                upload = await find_upload(
                    connection, receiver, metadata, grant, claim, new_id, log
                )
                if isinstance(upload, Upload):
                    log = upload.log
                    upload = await _admit(connection, receiver, claim, upload)
                    receive = receive_and_store if is_small(context, upload) else _receive
                    with suppress(LostError):  # not known any more, so that the next one is new
                        stored = await receive(connection, receiver, upload, claim, received)
                        close = receiver.close(stored.name)
                else:
                    close = receiver.close_stored(upload.name)
        await transport.send(close, timeout=config.timeouts.close)
    except trio.Cancelled:
        log_stopped(connection, receiver, claim, log)
        raise
    except Exception as error:  # noqa: BLE001  log_failed logs what is unexpected
        failure = log_failed(error, connection, receiver, claim, log)
        return await refuse(failure, connection)
    return None


async def _admit(
    connection: Connection, receiver: UploadReceiver, claim: Claim, upload: Upload
) -> Upload:
    """`Asking.admit` for an upload whose client waits for its first `ready`.

    Nothing is asked about one that is resumed. Raises a Fault also if the claim is lost or the
    daemon stops, and TransportClosed if the connection ends.
    """
    if upload.kept is not None or not upload.config.hooks.admit:
        return upload
    context = connection.context
    with interruptible((context.shutdown.no_uploads, shutting_down), (claim.lost, taken_over)):
        return await connection.unless_ended(
            receiver, partial(context.asking.admit, upload, connection.peer)
        )


async def _receive(
    connection: Connection,
    receiver: UploadReceiver,
    upload: Upload,
    claim: Claim,
    received: Callable[[], None],
) -> Stored:
    """Receive the data, verify it, and publish the file.

    If a step before the two commits fails, the file is discarded, or kept to be resumed.
    """
    context, config = connection.context, upload.config
    lease, transfer = context.lease, Transfer(connection, upload, receiver)
    with storage_faults(), lease.using():
        async with open_upload(context, transfer, claim) as (sink, reservation):
            claimed_hash = await transfer.receive(sink, reservation, claim.lost)
            claim.finished = True
            received()
            sha1 = await verify(sink, claimed_hash, required=config.hash.required)
            receipt = upload.receipt(connection.peer, sha1, claimed_hash)
            promised = bool(receipt or upload.resumable or sink.promised)
            if sink.replaces or promised:
                # The identity of the file must be final, and an fsync must not hold the lock
                # exclusively. Otherwise `commit` does this too, with one thread call less.
                await sink.prepare()
            if promised:
                await outlast(lease, partial(reservation.promise, sink, receipt, sha1))
            async with context.publication.hold([upload.path], replaces=sink.replaces, lease=lease):
                await lease.wait_valid()
                stored = await sink.commit()
                await reservation.commit(stored, sha1)
    # Before `close` is sent.
    log_stored(connection, upload, stored, sha1, claimed_hash, transfer.progress)
    return stored
