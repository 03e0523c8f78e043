"""The memory for parts of files: each is collected in a buffer, and sent to the storage from it."""

from collections import Counter
from typing import Final, Generic, TypeVar

from attrs import frozen

from .sharing import MemoryShare

Entry = TypeVar("Entry")
"""The type of an entry in the queue, which stands for a waiting upload."""

MOST: Final = 3, 4
"""Buffers and rooms together take at most this fraction of the memory: the rest is for credits,
without which no buffer would be filled."""


@frozen
class _Waiting(Generic[Entry]):
    """An upload of `owner` that waits for `length` bytes."""

    entry: Entry
    length: int
    owner: str


class PartBuffers(Generic[Entry]):
    """Buffers of uploads, out of the memory of `share`.

    All uploads of an owner may hold as many bytes as remain for others; the first buffer of an
    owner only has to fit. Uploads that get none wait in a queue, and get theirs in order, except
    that those of an owner who has enough are passed over. While one waits for bytes that credits
    hold, others get fewer of these. The queue has at most one entry for each upload.

    An upload that has a buffer never waits for another while it holds credits, and one that waits
    for its first buffer holds none. So both kinds of memory come back.
    """

    def __init__(self, share: MemoryShare[Entry]) -> None:
        self._share = share
        self._queue: list[_Waiting[Entry]] = []
        self._by_owner: Counter[str] = Counter()

    def take(self, length: int, owner: str) -> bool:
        """Hold a buffer of `length` bytes, if there is room for it, and nobody waits for one."""
        if self._queue or not self._fits(length) or length > self._share.free:
            return False
        if self._has_enough(length, owner):
            return False
        self._hold(length, owner)
        return True

    def wait(self, entry: Entry, length: int, owner: str) -> None:
        """Add an upload to the queue, for a buffer of `length` bytes. `serve` must follow."""
        self._queue.append(_Waiting(entry, length, owner))

    def leave(self, entry: Entry) -> None:
        """Remove an upload that stopped waiting. `serve` must follow."""
        self._queue = [one for one in self._queue if one.entry != entry]

    def give_back(self, length: int, owner: str) -> list[Entry]:
        """Release a buffer of `length` bytes. `serve` must follow.

        Returns the entries of `MemoryShare.give_back`.
        """
        self._share.buffers -= length
        self._by_owner[owner] -= length
        if not self._by_owner[owner]:
            del self._by_owner[owner]
        return self._share.give_back(length)

    def serve(self) -> list[Entry]:
        """To be called whenever memory was released: returns the entries that have a buffer now.

        They are not in the queue any more.
        """
        served: list[_Waiting[Entry]] = []
        self._share.aside = 0
        for one in self._queue:
            if not self._fits(one.length):
                break
            if self._has_enough(one.length, one.owner):
                continue
            if one.length > self._share.free:
                self._share.aside = one.length
                break
            served.append(one)
            self._hold(one.length, one.owner)
        self._queue = [one for one in self._queue if one not in served]
        return [one.entry for one in served]

    def _fits(self, length: int) -> bool:
        """Whether there is room beside other buffers and rooms, once no credit is outstanding."""
        share = self._share
        if not share.buffers:  # a large one fits alone
            return length <= share.total - share.rooms - share.minimum
        return length <= self._left

    def _has_enough(self, length: int, owner: str) -> bool:
        """Whether an owner is to leave what remains to others."""
        held = self._by_owner.get(owner, 0)
        return held > 0 and held + length > self._left

    @property
    def _left(self) -> int:
        """What remains for buffers."""
        share, (of, parts) = self._share, MOST
        return share.total * of // parts - share.buffers - share.rooms

    def _hold(self, length: int, owner: str) -> None:
        self._share.buffers += length
        self._by_owner[owner] += length
        self._share.take(length)
