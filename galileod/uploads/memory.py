"""The memory that all uploads share: `policy.sharing`, and the queue for it as trio events."""

from collections import Counter
from collections.abc import Iterable

import trio
from attrs import define, field

from galileod.policy.buffers import PartBuffers
from galileod.policy.sharing import MemoryShare
from galileod.storage.s3.memory import PartMemory


@define(eq=False)
class QueueEntry:
    """An upload in the queue. When `served` is set, `bytes` are reserved for it."""

    served: trio.Event = field(factory=trio.Event)
    bytes: int = 0


class MemoryPool:
    """The memory from which all uploads take their credits, each through a `MemoryAccount`."""

    def __init__(self, total: int, minimum: int) -> None:
        self.share: MemoryShare[QueueEntry] = MemoryShare(total, minimum)
        self.buffers = PartBuffers(self.share)
        self.by_user: Counter[str] = Counter()

    def give_back(self, length: int) -> None:
        """Release `length` bytes, and serve the queue."""
        self._wake(self.share.give_back(length))

    def take_room(self, wanted: int, least: int) -> int:
        """Hold bytes for whole files that the client of one connection may send without a credit.

        Returns how many: at most `wanted`, and at least `least`, or 0. `give_room_back` releases
        them.
        """
        return self.share.take_room(wanted, least)

    def give_room_back(self, length: int) -> None:
        """Release `length` bytes that `take_room` has returned, and serve the queue."""
        self._wake(self.share.give_room_back(length))

    def give_buffer_back(self, length: int, owner: str) -> None:
        """Release a buffer of `length` bytes, and serve both queues."""
        self._wake(self.buffers.give_back(length, owner))

    def resize(self, total: int, minimum: int) -> None:
        """Change the size. If uploads hold more than `total`, they release the excess over time."""
        self._wake(self.share.resize(total, minimum))

    def _wake(self, entries: Iterable[QueueEntry]) -> None:
        for entry in entries:
            # `minimum` may change before the waiting upload runs.
            entry.bytes = self.share.minimum
            entry.served.set()
        self.serve_buffers()

    def serve_buffers(self) -> None:
        """Give buffers to uploads that wait for one, if there is room now."""
        for entry in self.buffers.serve():
            entry.served.set()


class MemoryAccount:
    """What one upload holds of the pool: `held` bytes, which `settle(0)` returns at its end."""

    def __init__(self, pool: MemoryPool, user: str) -> None:
        self._pool = pool
        self._user = user
        self.held = 0

    @property
    def head_start(self) -> int:
        """Bytes that the upload may hold before its first data arrives."""
        return self._pool.share.head_start

    @property
    def room(self) -> int:
        """Bytes that may be promised now in addition to `held`."""
        return self._pool.share.room(self.held, self._pool.by_user[self._user])

    async def wait_for_share(self) -> int:
        """Wait in the queue for the minimum share; returns its size, which is then held."""
        share = self._pool.share
        entry = QueueEntry()
        share.wait(entry)
        try:
            await entry.served.wait()
        except trio.Cancelled:
            if entry.served.is_set():
                self._pool.give_back(entry.bytes)
            else:
                share.leave(entry)
            raise
        self._count(entry.bytes)
        return entry.bytes

    def settle(self, held: int) -> None:
        """Set the bytes that the upload holds to `held`. An increase must not exceed `room`."""
        more = held - self.held
        self._count(more)
        if more > 0:
            self._pool.share.take(more)
        elif more < 0:
            self._pool.give_back(-more)

    def _count(self, more: int) -> None:
        self.held += more
        by_user = self._pool.by_user
        by_user[self._user] += more
        if not by_user[self._user]:
            del by_user[self._user]  # users without uploads are not kept


class PoolPartMemory(PartMemory):
    """The memory of the pool, for the parts that a store collects and sends."""

    def __init__(self, pool: MemoryPool) -> None:
        self._pool = pool

    @property
    def largest(self) -> int:
        """Half of the memory: see `storage.settings`, which has the same limit for all parts."""
        return self._pool.share.total // 2

    def take(self, length: int, owner: str) -> bool:
        """See `PartMemory.take`."""
        return self._pool.buffers.take(length, owner)

    async def wait(self, length: int, owner: str) -> None:
        """See `PartMemory.wait`."""
        if self.take(length, owner):
            return
        buffers, entry = self._pool.buffers, QueueEntry()
        buffers.wait(entry, length, owner)
        self._pool.serve_buffers()
        try:
            await entry.served.wait()
        except trio.Cancelled:
            if entry.served.is_set():
                self.give_back(length, owner)
            else:
                buffers.leave(entry)
                self._pool.serve_buffers()
            raise

    def give_back(self, length: int, owner: str) -> None:
        """See `PartMemory.give_back`."""
        self._pool.give_buffer_back(length, owner)
