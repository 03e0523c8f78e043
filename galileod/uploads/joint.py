"""Work that tasks have in common: what comes while others work is done together."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

import trio
from attrs import define, field

T = TypeVar("T")

MOST_TOGETHER: Final = 64
"""Maximum items in a batch: more would hardly save anything, and each waits for all."""

BATCHES: Final = 2
"""Maximum batches at the same time: while one waits for the disk, the other is worked on."""


@define(eq=False)
class _Entry:
    item: Any
    done: bool = False
    turn: trio.Event = field(factory=trio.Event)


class Joint:
    """Works on items in batches, each in the task of one of them."""

    def __init__(self) -> None:
        self._waiting: list[_Entry] = []  # at most one for each task
        self._running = 0

    async def do(self, item: T, work: Callable[[Sequence[T]], Awaitable[None]]) -> None:
        """Have `item` worked on: `work` is called with the items of a batch.

        All items must be for the same work. What it raises is raised in one task only. A task that
        is cancelled already works on nothing; later, cancellation waits for the end of the batch.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        own = _Entry(item)
        self._waiting.append(own)
        while not own.done:
            if self._running < BATCHES:
                await self._do_batch(work)
            else:
                own.turn = trio.Event()
                with trio.CancelScope(shield=True):  # another task may be at work on it
                    await own.turn.wait()

    async def _do_batch(self, work: Callable[[Sequence[T]], Awaitable[None]]) -> None:
        batch = self._waiting[:MOST_TOGETHER]
        del self._waiting[:MOST_TOGETHER]
        self._running += 1
        try:
            await work([each.item for each in batch])
        finally:
            self._running -= 1
            for each in batch:
                each.done = True
                each.turn.set()
            if self._waiting:
                self._waiting[0].turn.set()
