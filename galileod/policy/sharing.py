"""Sharing the memory for data on its way among all uploads."""

from collections import deque
from typing import Final, Generic, TypeVar

Turn = TypeVar("Turn")
"""What stands in the queue for an upload."""

SHARE: Final = 4
"""An upload holds at most the `SHARE`th part of what is free beside it."""

MODEST: Final = 2
"""Smallest shares that an upload may hold although its user holds much."""

HEAD_START: Final = 16
"""All that is given out before it was earned is the `HEAD_START`th part of the memory."""


class MemoryShare(Generic[Turn]):
    """Bytes promised to clients, or received and not yet stored, over all uploads.

    An upload may hold a quarter of what it leaves free (the dynamic threshold of shared-memory
    switches: A. K. Choudhury and E. L. Hahne, 1998). So one that is alone holds a fifth of all,
    many hold less each, and there is something for a newcomer while others keep what they hold
    without using it. All uploads of one user together may hold as much as they leave free; beyond
    that each of them is held to twice `minimum`. When not even `minimum` is free, uploads that
    hold nothing wait in a queue, and get `minimum` in turn. It holds one entry an upload at most.

    `total` and `minimum` are changed by `resize` alone. More than `total` is held only while what
    was promised before it became less has not come back; nothing is promised meanwhile.
    """

    def __init__(self, total: int, minimum: int) -> None:
        self.total = total
        self.minimum = minimum
        self.held = 0
        self._queue: deque[Turn] = deque()

    @property
    def free(self) -> int:
        """Bytes that are promised to nobody; below 0 where the memory became less than is held."""
        return self.total - self.held

    @property
    def waiting(self) -> int:
        """How many uploads stand in the queue."""
        return len(self._queue)

    @property
    def head_start(self) -> int:
        """What an upload may begin with that has shown nothing yet: much on a quiet server."""
        return max(0, self.total // HEAD_START - self.held)

    def room(self, held: int, held_by_user: int) -> int:
        """How many bytes more an upload may be promised that holds `held`; `minimum` or more, or 0.

        All uploads of its user together hold `held_by_user`. While others wait, nobody gets
        anything but in turn.
        """
        if self._queue or self.free < self.minimum:
            return 0
        share = min(
            (self.free - SHARE * held) // (SHARE + 1),
            max((self.free - held_by_user) // 2, MODEST * self.minimum - held),
        )
        if share >= self.minimum:
            return share
        return self.minimum if held == 0 else 0

    def take(self, length: int) -> None:
        """Promise `length` bytes, no more than `room` just gave."""
        self.held += length

    def give_back(self, length: int) -> list[Turn]:
        """`length` bytes were stored, or will not come.

        Gives those whose turn has come: `minimum` bytes are promised to each.
        """
        self.held -= length
        return self._serve()

    def resize(self, total: int, minimum: int) -> list[Turn]:
        """There are `total` bytes from now on, handed out by no less than `minimum`.

        Gives those whose turn has come by that, as `give_back` does.
        """
        self.total, self.minimum = total, minimum
        return self._serve()

    def wait(self, turn: Turn) -> None:
        """Put an upload that holds nothing, and has no room, at the end of the queue."""
        self._queue.append(turn)

    def leave(self, turn: Turn) -> None:
        """Take an upload out of the queue: it ended while it waited."""
        self._queue.remove(turn)

    def _serve(self) -> list[Turn]:
        served = []
        while self._queue and self.free >= self.minimum:
            served.append(self._queue.popleft())
            self.held += self.minimum
        return served
