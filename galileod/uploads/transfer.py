"""The data of one upload: from a connection into a sink."""

import math
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

import trio
from attrs import Factory, define, field

from galileod.ledger.outage import outlast
from galileod.net.messages import BinaryMessage, MessagePart
from galileod.policy.rate import RateMeter
from galileod.protocol.errors import Fault, FaultCode
from galileod.protocol.messages import Abandon, Ask, Finished, HashClaim, Resumption
from galileod.protocol.receiver import UploadReceiver
from galileod.protocol.states import ReceiverState
from galileod.shutdown import Interrupt
from galileod.storage.base import RUNNING_HASH, Sink

from .beside import run_beside
from .checkpoints import Checkpoints
from .claims import taken_over
from .connection import Connection
from .faults import abandoned, interruptible, lease_lost, shutting_down, unfinished
from .flow import Flow
from .held import answer_first
from .memory import MemoryAccount
from .progress import Progress, count_chunk
from .reservation import Reservation
from .running import Running, discarded, listed, running_entry
from .upload import Upload

T = TypeVar("T")


def _make_flow(transfer: "Transfer") -> Flow:
    connection, upload = transfer.connection, transfer.upload
    account = MemoryAccount(connection.context.pool, upload.grant.user)
    budget = connection.transport.budget
    return Flow(transfer.receiver, budget, account, upload.config.chunks)


def _make_rate(transfer: "Transfer") -> RateMeter:
    config = transfer.upload.config
    return RateMeter(config.limits.min_rate, config.timeouts.idle)


@define(eq=False)
class Transfer:
    """The transfer of one upload's data over one connection."""

    connection: Connection
    upload: Upload
    receiver: UploadReceiver
    progress: Progress = field(
        init=False,
        default=Factory(
            lambda it: Progress(it.connection.when_began(it.receiver)), takes_self=True
        ),
    )
    _flow: Flow = field(init=False, default=Factory(_make_flow, takes_self=True))
    _rate: RateMeter = field(init=False, default=Factory(_make_rate, takes_self=True))
    _entry: Running = field(
        init=False,
        default=Factory(
            lambda it: running_entry(it.upload, it.receiver, it.progress.began), takes_self=True
        ),
    )
    _begun: bool = field(init=False, default=False)
    _writing: bool = field(init=False, default=False)

    @property
    def remaining(self) -> int:
        """Bytes of the file that are still to come."""
        if not self._begun:  # of a kept upload, `receiver` does not know yet what there is
            return self.upload.metadata.size - self._entry.resumed_at
        return self.receiver.window.remaining

    @contextmanager
    def begun(self, sink: Sink) -> Iterator[None]:
        """Have the upload listed as running during the block.

        Logs that it begins, or where it goes on, and tells the client so.
        """
        context, log = self.connection.context, self.upload.log
        if self.upload.kept is None:
            log.info("upload.started")
        else:
            log.info("upload.resumed", offset=sink.offset)
            context.metrics.resume_event("resumed")
        if self.upload.resumable:
            check = sink.check if sink.offset else None
            claim = None if check is None else HashClaim(RUNNING_HASH, check)
            self.receiver.resume(Resumption(sink.offset, self.upload.keep_seconds, claim))
            self._entry.resumed_at = sink.offset
        self._begun = True
        with listed(self._entry, context.running):
            yield

    async def receive(
        self, sink: Sink, reservation: Reservation, lost: Interrupt
    ) -> HashClaim | None:
        """Grant credits and store chunks until `finished`; returns the hash of that signal.

        Raises a Fault: `taken_over` when `lost` fires, `abandoned` if the client cancels the
        upload, and others.
        """
        context = self.connection.context
        causes = (
            (context.shutdown.no_uploads, shutting_down),
            (context.lease.lost, lease_lost),
            (lost, taken_over),
            (self._entry.discard, discarded),
        )
        checkpoints = Checkpoints(sink, context.ledger, self.upload.id)
        receive = partial(self._receive, sink, reservation, checkpoints.written)
        with interruptible(*causes), self._flow:
            await self._wait_for(partial(sink.make_ready, self.upload.grant.user))
            if self.upload.keeps:
                claim = await run_beside(receive, checkpoints.run, sink.catch_up)
            else:
                claim = await receive()
            self._entry.finished = True
            return claim

    async def take_rest(self) -> list[bytes]:
        """Stop receiving; returns the data that has come and was not passed to the sink, in order.

        Empty if what came before it has not been stored.
        """
        return [] if self._writing else await self.connection.transport.take_rest()

    async def _receive(
        self, sink: Sink, reservation: Reservation, written: Callable[[], None]
    ) -> HashClaim | None:
        idle = self.upload.config.timeouts.idle
        with trio.CancelScope() as ending:
            while True:
                await self._grant()
                if self.receiver.state is ReceiverState.EXPECT_FINISHED:
                    # Only `finished` is due: other messages do not extend the time for it.
                    ending.deadline = min(ending.deadline, trio.current_time() + idle)
                receiving = self.receiver.state is ReceiverState.RECEIVING
                message = await self.connection.next_message(
                    self.receiver, idle, self._rate if receiving else None
                )
                match message:
                    case MessagePart():
                        await self._write(message.pieces, sink, reservation)
                    case BinaryMessage():
                        await self._store(message, sink, reservation)
                    case Finished(claim):
                        return claim
                    case Ask():
                        await answer_first(self.connection, self.receiver, message, self.upload.log)
                        self._rate.restart()
                        ending.deadline = math.inf
                    case Abandon():
                        raise abandoned()
                del message  # its data is stored: the next wait must not keep it in memory
                written()
        raise unfinished(idle)

    async def _grant(self) -> None:
        """Send every `ready` that may be sent now; wait for memory if no credit is outstanding."""
        chunks = self.connection.context.config.chunks
        granted = self._flow.grant(trio.current_time(), chunks)
        if self._flow.starved:
            reserved = await self._wait_for(self._flow.wait_for_share)
            granted = self._flow.grant(trio.current_time(), chunks, reserved)
        if granted:
            self.progress.granted(self._flow.outstanding)
            signals = [self.receiver.ready(each) for each in granted]
            # A client that does not read these is treated as silent.
            await self.connection.transport.send(*signals, timeout=self.upload.config.timeouts.idle)

    async def _wait_for(self, memory: Callable[[], Awaitable[T]]) -> T:
        """Wait for memory; returns what `memory` returns. Raises a Fault, `busy`."""
        try:
            with trio.fail_after(self.upload.config.timeouts.idle):
                return await self.connection.unless_ended(self.receiver, memory)
        except trio.TooSlowError:
            raise Fault(
                FaultCode.BUSY, "The server has too many uploads at once. Try again later."
            ) from None

    async def _write(self, pieces: Sequence[bytes], sink: Sink, reservation: Reservation) -> None:
        self._writing = True
        context, length = self.connection.context, sum(map(len, pieces))
        await context.lease.wait_valid()
        await outlast(context.lease, partial(context.room.make, reservation, length))
        await sink.write(pieces)
        self._writing = False

    async def _store(self, message: BinaryMessage, sink: Sink, reservation: Reservation) -> None:
        """Store the last part of a chunk, and count the chunk."""
        waited = self._flow.arrived(message)
        if message.length:
            await self._write(message.pieces, sink, reservation)
            metrics = self.connection.context.metrics
            count_chunk(metrics, self.progress, message.length)
            if waited is not None:
                metrics.round_trip_seconds.observe(waited)
        self._flow.stored(trio.current_time())
