"""What an earlier connection has left of an upload: nothing, a part of it, or the stored file."""

from functools import partial

from structlog.typing import FilteringBoundLogger

from galileod.auth.grant import Grant
from galileod.config.model import Config
from galileod.ledger.base import KeptUpload, RunningUpload, StoredUpload
from galileod.ledger.lease import BEGIN_SECONDS
from galileod.protocol.messages import ASK, NEXT, RESUME, Metadata
from galileod.protocol.receiver import UploadReceiver

from .claims import Claim
from .connection import Connection
from .faults import abandoned, interruptible, shutting_down, storage_faults
from .upload import Upload, begin, resume


def extensions(config: Config) -> frozenset[str]:
    """The extensions of the protocol that the server supports."""
    supported = {
        RESUME: config.resume.keep,
        NEXT: config.chunks.next,
        ASK: config.chunks.next and config.storage.ask != "nobody",  # it needs `next`
    }
    return frozenset(name for name, enabled in supported.items() if enabled)


async def find_upload(
    connection: Connection,
    receiver: UploadReceiver,
    metadata: Metadata,
    grant: Grant,
    claim: Claim,
    new_id: str,
    log: FilteringBoundLogger,
) -> Upload | StoredUpload:
    """The upload that the metadata begins or continues, or the one that was stored already.

    `claim` is held; an upload that begins gets the id `new_id`. Raises a Fault: `bad_metadata` if
    the key is that of other metadata, `abandoned` if the client cancels the upload, `unauthorized`
    if the credential has expired and the key is not known, `busy` if this node must not write now,
    and those of `begin` and of `Handover.wait`. Raises TransportClosed if the connection ends while
    another node is asked.
    """
    context = connection.context
    earlier: KeptUpload | StoredUpload | None = None
    with storage_faults():
        await context.lease.wait_valid(BEGIN_SECONDS)
        if claim.key is not None:
            earlier = await _find(connection, receiver, claim, claim.key, log)
        if earlier is None and grant.expired:
            raise connection.refuse_expired(log)
        if isinstance(earlier, KeptUpload):
            claim.check(earlier.resumable.metadata)
            if not metadata.abandon:
                return resume(metadata, grant, context.config, earlier, log)
            await context.keeper.discard(earlier.upload)
        elif earlier is not None:
            claim.check(earlier.metadata)
            return earlier
    if metadata.abandon and claim.key is not None:
        raise abandoned()
    return begin(new_id, metadata, grant, context.config, claim, log)


async def _find(
    connection: Connection,
    receiver: UploadReceiver,
    claim: Claim,
    key: str,
    log: FilteringBoundLogger,
) -> KeptUpload | StoredUpload | None:
    """The upload with this key, once no other node runs it."""
    context = connection.context
    found = await context.keeper.find(key)
    if not isinstance(found, RunningUpload):
        return found
    claim.check(found.metadata)
    log.info("upload.elsewhere", runs_at=found.node, runs_as=found.upload)
    wait = partial(context.handover.wait, claim, context.config.timeouts.idle)
    with interruptible((context.shutdown.no_uploads, shutting_down)):
        return await connection.unless_ended(receiver, wait)
