"""Lets few tasks at a time do something; users whose tasks wait for that take turns."""

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
from attrs import define, field


@define(eq=False)
class Turns:
    """At most a certain number of tasks at a time, those that have come first, one of each user."""

    _running: int = field(init=False, default=0)
    _waiting: dict[str, deque[trio.Event]] = field(init=False, factory=dict)  # the next user first

    @asynccontextmanager
    async def take(self, user: str, most: int) -> AsyncIterator[None]:
        """Wait until fewer than `most` other tasks are in such a block, and run the block."""
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._running < most:  # nobody waits then
            self._running += 1
        else:
            await self._wait(user, most)
        try:
            yield
        finally:
            self._leave(most)

    async def _wait(self, user: str, most: int) -> None:
        turn = trio.Event()
        self._waiting.setdefault(user, deque()).append(turn)
        try:
            await turn.wait()
        except BaseException:
            if turn.is_set():
                self._leave(most)
            else:
                self._waiting[user].remove(turn)
                if not self._waiting[user]:
                    del self._waiting[user]
            raise

    def _leave(self, most: int) -> None:
        self._running -= 1
        while self._waiting and self._running < most:
            user = next(iter(self._waiting))
            turns = self._waiting.pop(user)
            turns.popleft().set()
            self._running += 1
            if turns:
                self._waiting[user] = turns  # behind the others
