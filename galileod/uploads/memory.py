"""The memory of all uploads, with waiting: `policy.sharing` on trio."""

from collections import Counter
from collections.abc import Iterable

import trio
from attrs import define, field

from galileod.policy.sharing import MemoryShare


@define(eq=False)
class Turn:
    """An upload's place in the queue. When `served` is set, `bytes` are held for it."""

    served: trio.Event = field(factory=trio.Event)
    bytes: int = 0


class MemoryPool:
    """The memory from which all uploads take their credits, each through a `MemoryAccount`."""

    def __init__(self, total: int, minimum: int) -> None:
        self.share: MemoryShare[Turn] = MemoryShare(total, minimum)
        self.by_user: Counter[str] = Counter()

    def give_back(self, length: int) -> None:
        """Return bytes, and serve the queue."""
        self._wake(self.share.give_back(length))

    def resize(self, total: int, minimum: int) -> None:
        """Change the size. Bytes promised beyond `total` are returned as uploads go on."""
        self._wake(self.share.resize(total, minimum))

    def _wake(self, turns: Iterable[Turn]) -> None:
        for turn in turns:
            # `minimum` may change before the waiting upload runs.
            turn.bytes = self.share.minimum
            turn.served.set()


class MemoryAccount:
    """What one upload holds of the pool: `held` bytes, which `settle(0)` returns at its end."""

    def __init__(self, pool: MemoryPool, user: str) -> None:
        self._pool = pool
        self._user = user
        self.held = 0

    @property
    def head_start(self) -> int:
        """Bytes that the upload may hold before its first data comes."""
        return self._pool.share.head_start

    @property
    def room(self) -> int:
        """Bytes that may be promised now in addition to `held`."""
        return self._pool.share.room(self.held, self._pool.by_user[self._user])

    async def turn(self) -> int:
        """Wait in the queue for the smallest share; returns its bytes, which are held then."""
        share = self._pool.share
        turn = Turn()
        share.wait(turn)
        try:
            await turn.served.wait()
        except trio.Cancelled:
            if turn.served.is_set():
                self._pool.give_back(turn.bytes)
            else:
                share.leave(turn)
            raise
        self._count(turn.bytes)
        return turn.bytes

    def settle(self, held: int) -> None:
        """The upload holds `held` bytes now. An increase is at most the current `room`."""
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
