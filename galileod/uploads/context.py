"""What all uploads share, and what each one takes from it before its first byte."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import trio
from attrs import Factory, define, evolve, field, frozen
from structlog.typing import FilteringBoundLogger

from galileod.auth.authenticator import Authenticator
from galileod.auth.grant import NOT_VALID, Grant
from galileod.config.model import Config
from galileod.ledger.outbox import Outbox
from galileod.ledger.sqlite import AlreadyUsedError, Ledger, LedgerError, Once
from galileod.metrics import Metrics
from galileod.policy.pacing import least_credit
from galileod.policy.quota import check_quota
from galileod.policy.space import check_space
from galileod.protocol.errors import Fault, FaultCode
from galileod.protocol.receiver import UploadReceiver
from galileod.shutdown import Shutdown
from galileod.storage.base import Sink, Store, Stored

from .memory import MemoryPool


@define(eq=False)
class Context:
    """What every session shares. `config` is what is in force now; `adopt` changes it."""

    config: Config
    store: Store
    ledger: Ledger
    pool: MemoryPool
    authenticator: Authenticator = field(factory=Authenticator)
    metrics: Metrics = field(factory=Metrics)
    shutdown: Shutdown = field(factory=Shutdown)
    running: set["Reservation"] = field(factory=set)
    outbox: Outbox = field(default=Factory(lambda context: Outbox(context.ledger), takes_self=True))
    _admitting: trio.Lock = field(factory=trio.Lock)
    _replacing: trio.Lock = field(factory=trio.Lock)
    _publishing: int = 0
    _published: trio.lowlevel.ParkingLot = field(factory=trio.lowlevel.ParkingLot)

    def adopt(self, config: Config) -> None:
        """Let `config` be in force, in one step. What is promised already stays so."""
        self.config = config
        chunks = config.chunks
        self.pool.resize(chunks.memory, least_credit(chunks.min, chunks.max, chunks.memory))
        self.outbox.ring()  # there may be a hook now that owed receipts have waited for

    @asynccontextmanager
    async def reserve(
        self, upload: str, grant: Grant, receiver: UploadReceiver, log: FilteringBoundLogger
    ) -> AsyncIterator["Reservation"]:
        """Hold quota and disk for the file that `receiver` was told of, while it is received.

        Raises Fault where a limit forbids it, or the ticket was used; LedgerError, StorageError.
        """
        size = receiver.window.remaining
        reservation = Reservation(self.ledger, self.outbox, upload, receiver, log)
        # One at a time, or two could each be refused for the other's sake.
        async with self._admitting:
            expected = sum(other.receiver.window.remaining for other in self.running)
            free = await self.store.free()
            check_space(free, expected, size, self.config.storage.min_free)
            self.running.add(reservation)
        try:
            quota = self.config.quota
            if grant.quota is not None:
                quota = evolve(quota, user_bytes=grant.quota)
            once = None if grant.once is None else Once(grant.once, grant.until)
            allow = partial(check_quota, quota, size)
            try:
                await self.ledger.reserve(upload, grant.user, size, allow, once)
            except AlreadyUsedError:
                raise Fault(FaultCode.UNAUTHORIZED, NOT_VALID) from None
            try:
                yield reservation
            except BaseException:
                await reservation.release()
                raise
        finally:
            self.running.discard(reservation)

    @asynccontextmanager
    async def publishing(self, sink: Sink) -> AsyncIterator[None]:
        """Hold this from the publication of a file to its entry in the ledger.

        Where one file takes another's place, the last on disk must be the last in the ledger: such
        a file is alone here. Others are here together. After a reload there may be both kinds.
        """
        async with self._replacing:
            if sink.replaces:
                while self._publishing:
                    await self._published.park()
                yield
                return
            self._publishing += 1
        try:
            yield
        finally:
            self._publishing -= 1
            self._published.unpark_all()


@frozen(eq=False)
class Reservation:
    """What one running upload holds in the ledger."""

    _ledger: Ledger
    _outbox: Outbox
    _upload: str
    receiver: UploadReceiver
    _log: FilteringBoundLogger

    async def promise(self, sink: Sink, receipt: str) -> None:
        """Owe the hook this receipt from the moment in which the sink's file is published.

        Raises LedgerError, StorageError: better no file than one that nobody is told of.
        """
        await self._ledger.promise(self._upload, sink.inode, receipt)

    async def become(self, stored: Stored) -> None:
        """Turn into the file that is stored by now. Cannot fail: the disk has decided."""
        with trio.CancelScope(shield=True):  # bounded by the ledger's own BUSY_SECONDS
            try:
                await self._ledger.commit(self._upload, stored.name)
            except LedgerError as error:
                # The reservation stands for the file until the next start, which asks the disk.
                self._log.warning("ledger.behind", reason=str(error))
        self._outbox.ring()

    async def release(self) -> None:
        """Give back what is held. A file that it became is not touched."""
        with trio.CancelScope(shield=True):  # bounded by the ledger's own BUSY_SECONDS
            try:
                await self._ledger.release(self._upload)
            except LedgerError as error:
                # It is held until the next start, when no upload runs.
                self._log.warning("ledger.behind", reason=str(error))
