"""The memory of all uploads, with waiting: policy.sharing on trio."""

from collections import Counter
from typing import Self

import trio

from .policy.sharing import MemoryShare


class Pool:
    """What all uploads draw their credits from. Each has an `Account`."""

    def __init__(self, total: int, minimum: int) -> None:
        self.share: MemoryShare[trio.Event] = MemoryShare(total, minimum)
        self.by_user: Counter[str] = Counter()

    def give_back(self, length: int) -> None:
        """Return bytes, and wake those whose turn it is."""
        for turn in self.share.give_back(length):
            turn.set()


class Account:
    """What one upload holds of the pool, as bytes in `held`. Leaving its `with` gives it back."""

    def __init__(self, pool: Pool, user: str) -> None:
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
        turn = trio.Event()
        share.wait(turn)
        try:
            await turn.wait()
        except trio.Cancelled:
            if turn.is_set():
                self._pool.give_back(share.minimum)
            else:
                share.leave(turn)
            raise
        self._count(share.minimum)
        return share.minimum

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
