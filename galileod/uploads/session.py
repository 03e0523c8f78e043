"""One upload on one connection, from the metadata to `close`: the steps, in order."""

import secrets

import trio

from galileod.hooks.receipt import make_receipt
from galileod.protocol.receiver import UploadReceiver

from .connection import Connection
from .ending import NORMAL, end_failed, log_stopped, log_stored
from .faults import storage_faults
from .transfer import Transfer
from .upload import Upload, path_for
from .verify import verify


async def serve_upload(connection: Connection) -> str:
    """Receive and store one file, then end the connection; returns how the connection ended.

    Every error is logged and sent to the client. Only cancellation is raised.
    """
    context, transport, peer = connection.context, connection.transport, connection.peer
    receiver, log = UploadReceiver(), connection.log
    try:
        metadata = await connection.expect_metadata(receiver)
        config, upload_id = context.config, secrets.token_hex(8)
        log = log.bind(upload=upload_id, name=metadata.name, size=metadata.size)
        grant = await connection.authorize(metadata, log)
        log = log.bind(user=grant.user)
        path = path_for(metadata, grant, config)
        upload = Upload(upload_id, metadata, grant, config, path, log)
        with storage_faults():
            # If a step before the two commits fails, the end of this block discards the sink and
            # releases the reservation.
            async with (
                context.admission.admit(
                    upload.id, path, grant, metadata.size, lambda: receiver.window.remaining, log
                ) as reservation,
                await context.store.create(upload.id, upload.path) as sink,
            ):
                log.info("upload.started")
                transfer = Transfer(connection, upload, receiver)
                claimed_hash = await transfer.receive(sink)
                sha1 = await verify(sink, claimed_hash, required=config.hash.required)
                if sink.replaces or config.hooks.stored:
                    # The identity of the file must be final, and an fsync must not hold the lock
                    # exclusively. Otherwise `commit` does this too, with one thread call less.
                    await sink.prepare()
                if config.hooks.stored:
                    receipt = make_receipt(
                        upload.id, metadata.size, sha1, claimed_hash, grant.user, peer.name
                    )
                    await reservation.promise(sink, receipt)
                async with context.publication.hold(replaces=sink.replaces):
                    stored = await sink.commit()
                    await reservation.commit(stored)
        connection.stored += 1
        log_stored(transfer, stored, sha1, claimed_hash)  # before `close` is sent
        _, _, file_name = stored.name.rpartition("/")
        close = receiver.close(file_name)
        await transport.send(close, timeout=config.timeouts.close)
    except trio.Cancelled:
        log_stopped(connection, receiver, log)
        raise
    except Exception as error:  # noqa: BLE001  end_failed logs what is unexpected
        return await end_failed(error, connection, receiver, log)
    return await transport.finish(NORMAL, "stored", connection.config.timeouts.close)
