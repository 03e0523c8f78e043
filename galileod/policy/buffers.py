"""The memory for parts of files: each is collected in a buffer, and sent to the storage from it."""

from collections import deque
from typing import Final, Generic, TypeVar

from .sharing import MemoryShare

Entry = TypeVar("Entry")
"""The type of an entry in the queue, which stands for a waiting upload."""

MOST: Final = 3, 4
"""Buffers and rooms together take at most this fraction of the memory: the rest is for credits,
without which no buffer would be filled."""


class PartBuffers(Generic[Entry]):
    """Buffers of uploads, out of the memory of `share`.

    Uploads that get none wait in a queue, and get theirs in order. While one waits for bytes that
    credits hold, others get fewer of these. The queue has at most one entry for each upload.

    An upload that has a buffer never waits for another while it holds credits, and one that waits
    for its first buffer holds none. So both kinds of memory come back.
    """

    def __init__(self, share: MemoryShare[Entry]) -> None:
        self._share = share
        self._queue: deque[tuple[Entry, int]] = deque()

    def take(self, length: int) -> bool:
        """Hold a buffer of `length` bytes, if there is room for it, and nobody waits for one."""
        if self._queue or not self._fits(length) or length > self._share.free:
            return False
        self._hold(length)
        return True

    def wait(self, entry: Entry, length: int) -> None:
        """Add an upload to the queue, for a buffer of `length` bytes. `serve` must follow."""
        self._queue.append((entry, length))

    def leave(self, entry: Entry) -> None:
        """Remove an upload that stopped waiting. `serve` must follow."""
        self._queue = deque(one for one in self._queue if one[0] != entry)

    def give_back(self, length: int) -> list[Entry]:
        """Release a buffer of `length` bytes. `serve` must follow.

        Returns the entries of `MemoryShare.give_back`.
        """
        self._share.buffers -= length
        return self._share.give_back(length)

    def serve(self) -> list[Entry]:
        """To be called whenever memory was released: returns the entries that have a buffer now.

        They are not in the queue any more.
        """
        served, self._share.aside = [], 0
        while self._queue and self._fits(length := self._queue[0][1]):
            if length > self._share.free:
                self._share.aside = length
                break
            served.append(self._queue.popleft()[0])
            self._hold(length)
        return served

    def _fits(self, length: int) -> bool:
        """Whether there is room beside other buffers and rooms, once no credit is outstanding."""
        share = self._share
        if not share.buffers:  # a large one fits alone
            return length <= share.total - share.rooms - share.minimum
        of, parts = MOST
        return share.buffers + share.rooms + length <= share.total * of // parts

    def _hold(self, length: int) -> None:
        self._share.buffers += length
        self._share.take(length)
