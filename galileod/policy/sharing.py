"""How the uploads share the memory for data that is granted or not yet stored."""

from collections import deque
from typing import Final, Generic, TypeVar

Turn = TypeVar("Turn")
"""What represents a waiting upload in the queue."""

SHARE: Final = 4
"""An upload may hold at most 1/SHARE of what is free."""

MODEST: Final = 2
"""Number of minimum shares that an upload may hold even if its user holds much."""

HEAD_START: Final = 16
"""At most 1/HEAD_START of the memory is granted to uploads that have sent nothing yet."""


class MemoryShare(Generic[Turn]):
    """Bytes that all uploads hold: promised to clients, or received and not yet stored.

    An upload may hold a quarter of what it leaves free (the dynamic threshold of shared-memory
    switches: A. K. Choudhury and E. L. Hahne, 1998). So a single upload holds a fifth of the
    memory, many hold less each, and a new one gets some even if the others keep what they hold.
    All uploads of a user together may hold as much as they leave free; beyond that, each of them
    is limited to twice `minimum`. If less than `minimum` is free, uploads that hold nothing wait
    in a queue, and get `minimum` in order. It has at most one entry for each upload.

    Only `resize` changes `total` and `minimum`. If it lowers `total` below what is held, nothing is
    promised until enough is given back.
    """

    def __init__(self, total: int, minimum: int) -> None:
        self.total = total
        self.minimum = minimum
        self.held = 0
        self._queue: deque[Turn] = deque()

    @property
    def free(self) -> int:
        """Bytes that no upload holds; negative if `resize` made `total` less than what is held."""
        return self.total - self.held

    @property
    def waiting(self) -> int:
        """Number of uploads in the queue."""
        return len(self._queue)

    @property
    def head_start(self) -> int:
        """Bytes that an upload may be granted before it has sent anything."""
        return max(0, self.total // HEAD_START - self.held)

    def room(self, held: int, held_by_user: int) -> int:
        """Bytes that an upload which holds `held` may be promised: at least `minimum`, or 0.

        All uploads of its user together hold `held_by_user`. While the queue is not empty, memory
        is given only to its first entry.
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
        """Hold `length` bytes, at most what `room` has just returned."""
        self.held += length

    def give_back(self, length: int) -> list[Turn]:
        """Release `length` bytes, which were stored or will not come.

        Returns the entries of the queue that are served by that: each holds `minimum` bytes now.
        """
        self.held -= length
        return self._serve()

    def resize(self, total: int, minimum: int) -> list[Turn]:
        """Change the memory to `total` bytes, and the smallest share to `minimum`.

        Returns the entries of the queue that are served by that, as `give_back` does.
        """
        self.total, self.minimum = total, minimum
        return self._serve()

    def wait(self, turn: Turn) -> None:
        """Add an upload that holds nothing and has no room to the queue."""
        self._queue.append(turn)

    def leave(self, turn: Turn) -> None:
        """Remove an upload that ended while it waited."""
        self._queue.remove(turn)

    def _serve(self) -> list[Turn]:
        served = []
        while self._queue and self.free >= self.minimum:
            served.append(self._queue.popleft())
            self.held += self.minimum
        return served
