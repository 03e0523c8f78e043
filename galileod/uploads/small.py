"""A small file: it is received into memory, and then stored in one step.

It has one credit for all of it, and no file before all of it has come.
"""

import math
from collections.abc import Callable
from functools import partial

import trio

from galileod.ledger.base import StoredUpload
from galileod.net.messages import BinaryMessage, MessagePart
from galileod.policy.rate import RateMeter
from galileod.protocol.messages import Abandon, Ask, Finished, Resumption
from galileod.protocol.receiver import Credit, UploadReceiver
from galileod.protocol.states import ReceiverState
from galileod.storage.base import Stored

from .claims import Claim, taken_over
from .connection import Connection
from .context import Context
from .faults import abandoned, interruptible, shutting_down, storage_faults, unfinished
from .held import answer_first
from .memory import MemoryAccount
from .progress import Progress, count_chunk
from .running import Running, discarded, listed, running_entry
from .upload import Upload
from .whole import Content, WholeUpload, store_whole, wait_elsewhere


def is_small(context: Context, upload: Upload) -> bool:
    """Whether a file is received into memory: nothing of it is to be kept, and there is room.

    It holds its memory until it is stored, also while `finished` is still to come. So half of the
    memory must be free.
    """
    size, chunks, share = upload.metadata.size, upload.config.chunks, context.pool.share
    if upload.kept is not None or upload.keeps or size > min(chunks.whole, chunks.max):
        return False
    if not size:
        return True
    room = MemoryAccount(context.pool, upload.grant.user).room
    return size <= room and share.free >= share.total // 2


async def receive_and_store(
    connection: Connection,
    receiver: UploadReceiver,
    upload: Upload,
    claim: Claim,
    received: Callable[[], None],
) -> Stored | StoredUpload:
    """Receive a small file, verify and store it. If a step fails, nothing is left of it.

    `received` is called when `finished` has come.
    """
    context = connection.context
    entry = running_entry(upload, receiver, connection.when_began(receiver))
    account = MemoryAccount(context.pool, upload.grant.user)
    account.settle(upload.metadata.size)
    try:
        with storage_faults(), listed(entry, context.running):
            async with context.admission.admit_small(
                upload, lambda: upload.metadata.size - receiver.received
            ) as reservation:
                content = await _receive(connection, receiver, entry, claim, upload)
                claim.finished = entry.finished = True
                received()
                whole = WholeUpload(connection, upload, claim, reservation, receiver, content)
                await context.joint.do(whole, partial(store_whole, context))
                while whole.elsewhere:
                    await wait_elsewhere(context, whole)
                    await context.joint.do(whole, partial(store_whole, context))
                if whole.stored is None:
                    raise whole.error or RuntimeError("it was neither stored nor refused")
                return whole.stored
    finally:
        account.settle(0)


async def _receive(
    connection: Connection, receiver: UploadReceiver, entry: Running, claim: Claim, upload: Upload
) -> Content:
    """Receive a small file, for which memory is held; returns its content.

    Raises a Fault: `taken_over` when the claim is lost, `abandoned`, and others.
    """
    context, idle = connection.context, upload.config.timeouts.idle
    rate = RateMeter(upload.config.limits.min_rate, idle)
    progress, pieces = Progress(entry.opened), list[bytes]()
    upload.log.info("upload.started")
    if upload.resumable:
        receiver.resume(Resumption(0, upload.keep_seconds))
    with interruptible(
        (context.shutdown.no_uploads, shutting_down),
        (claim.lost, taken_over),
        (entry.discard, discarded),
    ) as ending:
        while True:
            await _grant(connection, receiver, progress, upload)
            receiving = receiver.state is ReceiverState.RECEIVING
            if not receiving:
                # Only `finished` is due: other messages do not extend the time for it.
                ending.deadline = min(ending.deadline, trio.current_time() + idle)
            match await connection.next_message(receiver, idle, rate if receiving else None):
                case MessagePart(part):
                    pieces += part
                case BinaryMessage() as message:
                    receiver.receive_binary(message.length)
                    pieces += message.pieces
                    count_chunk(connection.context.metrics, progress, message.length)
                case Finished(claimed):
                    connection.transport.budget.promise(0, 0)
                    return Content(pieces, claimed, progress)
                case Ask() as question:
                    await answer_first(connection, receiver, question, upload.log)
                    rate.restart()
                    ending.deadline = math.inf
                case Abandon():
                    raise abandoned()
    raise unfinished(idle)


async def _grant(
    connection: Connection, receiver: UploadReceiver, progress: Progress, upload: Upload
) -> None:
    """Send the `ready` that is due, for all of the file or for `finished`."""
    if (step := receiver.grant(upload.metadata.size, 1)) is not None:
        if isinstance(step, Credit):
            progress.granted(1)
            connection.transport.budget.promise(step.length, step.length)
        await connection.transport.send(receiver.ready(step), timeout=upload.config.timeouts.idle)
