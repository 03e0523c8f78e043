"""The memory of all uploads, with waiting: policy.sharing on trio."""

from collections import Counter
from collections.abc import Iterable
from typing import Self

import trio
from attrs import define, field

from galileod.policy.sharing import MemoryShare


@define(eq=False)
class Turn:
    """A place in the queue. Once it `came`, so many `bytes` are held."""

    came: trio.Event = field(factory=trio.Event)
    bytes: int = 0


class MemoryPool:
    """What all uploads draw their credits from. Each has an `MemoryAccount`."""

    def __init__(self, total: int, minimum: int) -> None:
        self.share: MemoryShare[Turn] = MemoryShare(total, minimum)
        self.by_user: Counter[str] = Counter()

    def give_back(self, length: int) -> None:
        """Return bytes, and wake those whose turn it is."""
        self._wake(self.share.give_back(length))

    def resize(self, total: int, minimum: int) -> None:
        """Have `total` bytes from now on; what was promised beyond that comes back in time."""
        self._wake(self.share.resize(total, minimum))

    def _wake(self, turns: Iterable[Turn]) -> None:
        for turn in turns:
            # The smallest share may be another before the upload gets to run.
            turn.bytes = self.share.minimum
            turn.came.set()


class MemoryAccount:
    """What one upload holds of the pool, as bytes in `held`. Leaving its `with` gives it back."""

    def __init__(self, pool: MemoryPool, user: str) -> None:
        self._pool = pool
        self._user = user
        self.held = 0

    @property
    def head_start(self) -> int:
        """How many bytes an upload may begin with."""
        return self._pool.share.head_start

    @property
    def room(self) -> int:
        """How many bytes more may be promised now."""
        return self._pool.share.room(self.held, self._pool.by_user[self._user])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self.settle(0)

    async def turn(self) -> int:
        """Wait in line for the smallest share; gives its bytes, which are held from then on."""
        share = self._pool.share
        turn = Turn()
        share.wait(turn)
        try:
            await turn.came.wait()
        except trio.Cancelled:
            if turn.came.is_set():
                self._pool.give_back(turn.bytes)
            else:
                share.leave(turn)
            raise
        self._count(turn.bytes)
        return turn.bytes

    def settle(self, held: int) -> None:
        """The upload holds `held` bytes now; what that is more than before was room just given."""
        more = held - self.held
        self._count(more)
        if more > 0:
            self._pool.share.take(more)
        elif more < 0:
            self._pool.give_back(-more)

    def _count(self, more: int) -> None:
        """The upload, and so its user, holds so many bytes more."""
        self.held += more
        by_user = self._pool.by_user
        by_user[self._user] += more
        if not by_user[self._user]:
            del by_user[self._user]  # the users of today are not kept for ever
