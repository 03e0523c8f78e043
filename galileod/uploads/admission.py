"""Admission of uploads: quota, disk space and single-use tickets, held while an upload runs."""

from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import structlog
import trio
from attrs import define, evolve
from structlog.typing import FilteringBoundLogger

from galileod.auth.grant import NOT_VALID, Grant
from galileod.config.model import Config
from galileod.ledger.base import AlreadyUsedError, Ledger, LedgerError, SingleUse
from galileod.policy.exhausted import Exhausted
from galileod.policy.quota import check_quota, find_used_up
from galileod.policy.space import check_space, find_no_space
from galileod.protocol.errors import Fault, FaultCode
from galileod.storage.base import Sink, StorageError, Store, Stored

EXHAUSTED_SECONDS: Final = 5.0
"""Time limit in seconds for `log_exhausted`: the disk may hang."""

_log: FilteringBoundLogger = structlog.get_logger()


class Admission:
    """Decides whether an upload may begin; `running` are the reservations of those that run.

    `config` returns the configuration in force.
    """

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        config: Callable[[], Config],
    ) -> None:
        self._store = store
        self._ledger = ledger
        self.running: set[Reservation] = set()
        self._config = config
        self._checking_space = trio.Lock()

    @asynccontextmanager
    async def admit(
        self,
        upload_id: str,
        path: str,
        grant: Grant,
        size: int,
        remaining: Callable[[], int],
        log: FilteringBoundLogger,
    ) -> AsyncIterator["Reservation"]:
        """Reserve quota and disk space for a file of `size` bytes at `path` during the block.

        `remaining` returns the number of bytes not received yet. Raises Fault if a limit is
        exceeded or the ticket was used, LedgerError if the reservation cannot be recorded, and
        StorageError if the free space cannot be read.
        """
        reservation = Reservation(self._ledger, upload_id, remaining, log)
        await self._hold_space(reservation, path, size)
        try:
            await self._reserve(upload_id, grant, size)
            try:
                yield reservation
            except BaseException:
                await reservation.release()
                raise
        finally:
            self.running.discard(reservation)

    async def find_exhausted(self) -> Exhausted | None:
        """The limit because of which every upload is refused, even if no other runs, or None.

        Raises StorageError and LedgerError.
        """
        config = self._config()
        free = await self._store.free()
        no_space = None if free is None else find_no_space(free, config.storage.min_free)
        return no_space or find_used_up(config.quota, await self._ledger.total())

    async def log_exhausted(self) -> None:
        """Log a warning if every upload is refused because of a limit. Raises nothing."""
        try:
            with trio.move_on_after(EXHAUSTED_SECONDS):
                exhausted = await self.find_exhausted()
                if exhausted:
                    _log.warning("server.exhausted", key=exhausted.key, reason=exhausted.reason)
        except (StorageError, LedgerError):
            pass  # the health check and each upload report it

    async def _hold_space(self, reservation: "Reservation", path: str, size: int) -> None:
        # Serialized, so that of two simultaneous uploads the second counts the first. If both were
        # added before the check, each would count the other and both could be refused.
        async with self._checking_space:
            space = await self._store.free_at(path)
            if space is not None:
                reservation.filesystem = space.filesystem
                expected = sum(
                    other.remaining()
                    for other in self.running
                    if other.filesystem == space.filesystem
                )
                check_space(space.free, expected, size, self._config().storage.min_free)
            self.running.add(reservation)

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


@define(eq=False)
class Reservation:
    """What one running upload has reserved.

    `remaining` returns the bytes not received yet, which `filesystem` must have space for.
    """

    _ledger: Ledger
    _upload_id: str
    remaining: Callable[[], int]
    _log: FilteringBoundLogger
    filesystem: Hashable = None

    async def promise(self, sink: Sink, receipt: str) -> None:
        """Record that `receipt` is owed to the hook once the sink's file is published.

        Raises LedgerError and StorageError. The upload then fails: a file whose receipt is not
        recorded is not stored.
        """
        await self._ledger.promise(self._upload_id, sink.identity, receipt)

    async def commit(self, stored: Stored) -> None:
        """Replace the reservation with the stored file in the ledger. Never raises LedgerError."""
        with trio.CancelScope(shield=True):  # the ledger's methods are bounded in time
            try:
                await self._ledger.commit(self._upload_id, stored.name)
            except LedgerError as error:
                # Until the next start reconciles, the reservation counts in place of the file.
                self._log.warning("ledger.behind", reason=str(error))

    async def release(self) -> None:
        """Drop the reservation, unless it was committed. Never raises LedgerError."""
        with trio.CancelScope(shield=True):  # the ledger's methods are bounded in time
            try:
                await self._ledger.release(self._upload_id)
            except LedgerError as error:
                # The reservation remains until the next start, which drops all reservations.
                self._log.warning("ledger.behind", reason=str(error))
