"""Room for data that has come: kept uploads give way if it needs theirs."""

from collections.abc import Callable, Collection
from typing import Final

import trio

from galileod.config.model import Config
from galileod.ledger.base import Ledger
from galileod.policy.quota import Holding, has_room
from galileod.storage.base import Store

from .keeper import Keeper
from .reservation import Reservation

ROOM_BYTES: Final = 8 * 1024 * 1024
"""Bytes for which room is looked for at once, if there is that much."""


class Room:
    """Makes room for the data of `running` uploads, before it is written.

    Only data that has come makes a kept upload give way: a client that announces a large file does
    not. `config` returns the configuration in force.
    """

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        keeper: Keeper,
        running: Collection[Reservation],
        config: Callable[[], Config],
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._keeper = keeper
        self._running = running
        self._config = config
        self._one_at_a_time = trio.Lock()

    async def make(self, reservation: Reservation, length: int) -> None:
        """Make room for `length` bytes that have come; if that fails, the disk decides.

        Raises StorageError and LedgerError; then it may be called again.
        """
        if not self._keeper.any:
            return
        if reservation.room >= length:
            reservation.room -= length
            return
        reservation.room = 0
        grant, ample = reservation.upload.grant, max(ROOM_BYTES, length)
        async with self._one_at_a_time:
            if not await self._lacks_quota(reservation, ample) and not await self._lacks_space(
                reservation, ample
            ):
                reservation.room = ample - length
                return
            while await self._lacks_quota(reservation, length):
                if not await self._keeper.make_way(grant.user, authenticated=not grant.anonymous):
                    break
            while await self._lacks_space(reservation, length):
                if not await self._keeper.make_way(None, authenticated=not grant.anonymous):
                    break

    async def _lacks_quota(self, reservation: Reservation, more: int) -> bool:
        """Whether the user's quota has no room for `more` bytes."""
        limit, user = reservation.quota(self._config()).user_bytes, reservation.upload.grant.user
        if limit is None:
            return False
        holding = (await self._ledger.holdings_from(user, 1)).get(user, Holding())
        own = (each for each in self._running if each.upload.grant.user == user)
        return not has_room(limit, holding, sum(each.received for each in own), more)

    async def _lacks_space(self, reservation: Reservation, more: int) -> bool:
        """Whether the disk or the quota for all users has no room for `more` bytes."""
        config = self._config()
        limit = config.quota.total_bytes
        if limit is not None:
            received = sum(each.received for each in self._running)
            if not has_room(limit, await self._ledger.total(), received, more):
                return True
        space = await self._store.free_at("")
        if space is None or space.filesystem != reservation.filesystem:
            return False
        same = (each for each in self._running if each.filesystem == space.filesystem)
        found = sum(max(0, each.room) for each in same)
        return space.free - found - more < config.storage.min_free
