"""Admission of uploads: quota, disk space and single-use tickets, held while an upload runs."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import trio
from attrs import evolve, frozen
from structlog.typing import FilteringBoundLogger

from galileod.auth.grant import NOT_VALID, Grant
from galileod.config.model import Config
from galileod.ledger.base import AlreadyUsedError, Ledger, LedgerError, SingleUse
from galileod.policy.quota import check_quota
from galileod.policy.space import check_space
from galileod.protocol.errors import Fault, FaultCode
from galileod.storage.base import Sink, Store, Stored


class Admission:
    """Decides whether an upload may begin, and keeps the `running` ones up to date.

    `config` returns the configuration in force.
    """

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        running: set["Reservation"],
        config: Callable[[], Config],
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._running = running
        self._config = config
        self._checking_space = trio.Lock()

    @asynccontextmanager
    async def admit(
        self,
        upload_id: str,
        grant: Grant,
        size: int,
        remaining: Callable[[], int],
        log: FilteringBoundLogger,
    ) -> AsyncIterator["Reservation"]:
        """Hold quota and disk space for a file of `size` bytes during the block.

        `remaining` returns how many of them are not received yet. Raises Fault if a limit is
        exceeded or the ticket was used; LedgerError, StorageError.
        """
        reservation = Reservation(self._ledger, upload_id, remaining, log)
        await self._hold_space(reservation, size)
        try:
            await self._reserve(upload_id, grant, size)
            try:
                yield reservation
            except BaseException:
                await reservation.release()
                raise
        finally:
            self._running.discard(reservation)

    async def _hold_space(self, reservation: "Reservation", size: int) -> None:
        # One at a time: two uploads that count each other could both be refused.
        async with self._checking_space:
            expected = sum(other.remaining() for other in self._running)
            free = await self._store.free()
            if free is not None:
                check_space(free, expected, size, self._config().storage.min_free)
            self._running.add(reservation)

    async def _reserve(self, upload_id: str, grant: Grant, size: int) -> None:
        quota = self._config().quota
        if grant.quota is not None:
            quota = evolve(quota, user_bytes=grant.quota)
        ticket = None if grant.once is None else SingleUse(grant.once, grant.until)
        allow = partial(check_quota, quota, size)
        try:
            await self._ledger.reserve(upload_id, grant.user, size, allow, ticket)
        except AlreadyUsedError:
            raise Fault(FaultCode.UNAUTHORIZED, NOT_VALID) from None


@frozen(eq=False)
class Reservation:
    """What one running upload holds. `remaining` returns the bytes not received yet."""

    _ledger: Ledger
    _upload_id: str
    remaining: Callable[[], int]
    _log: FilteringBoundLogger

    async def promise(self, sink: Sink, receipt: str) -> None:
        """Owe the hook this receipt from the moment when the sink's file is published.

        Raises LedgerError, StorageError: a file is not stored if the hook could miss it.
        """
        await self._ledger.promise(self._upload_id, sink.identity, receipt)

    async def become(self, stored: Stored) -> None:
        """Turn into the file, which is stored already. Never raises."""
        with trio.CancelScope(shield=True):  # the ledger's methods are bounded in time
            try:
                await self._ledger.commit(self._upload_id, stored.name)
            except LedgerError as error:
                # The reservation counts in place of the file until the next start reconciles.
                self._log.warning("ledger.behind", reason=str(error))

    async def release(self) -> None:
        """Give back what is held, unless it became a file. Never raises LedgerError."""
        with trio.CancelScope(shield=True):  # the ledger's methods are bounded in time
            try:
                await self._ledger.release(self._upload_id)
            except LedgerError as error:
                # It stays held until the next start, which drops all reservations.
                self._log.warning("ledger.behind", reason=str(error))
