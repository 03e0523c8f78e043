"""How the uploads share the memory for data that is granted or not yet stored."""

from collections import deque
from typing import Final, Generic, TypeVar

Entry = TypeVar("Entry")
"""The type of an entry in the queue, which stands for a waiting upload."""

SHARE: Final = 4
"""An upload may hold at most 1/SHARE of the bytes that remain free."""

MIN_SHARES: Final = 2
"""Minimum shares that an upload may hold even if its user holds more than remains free."""

HEAD_START: Final = 16
"""A new upload gets a head start only while all uploads hold less than 1/HEAD_START of the
memory."""

ROOMS: Final = 2
"""All rooms together are at most 1/ROOMS of the memory, so that large files always find some."""


class MemoryShare(Generic[Entry]):
    """Bytes that all uploads hold: promised to clients, or received and not yet stored.

    An upload may hold at most a quarter of the bytes that remain free (the dynamic threshold of
    shared-memory switches: A. K. Choudhury and E. L. Hahne, 1998). So a single upload holds a fifth
    of the memory, many uploads hold less each, and some memory remains for a new one even if the
    others release nothing. All uploads of a user together may hold as many bytes as remain free;
    once they do, each of them is limited to twice `minimum`. If less than `minimum` is free,
    uploads that hold nothing wait in a queue, and get `minimum` in order. The queue has at most one
    entry for each upload.

    A *room* is held by a connection instead of an upload: bytes of whole files that its client may
    send without a credit.

    `buffers` are bytes of parts (`policy.buffers`), and `aside` what one waits for: no upload gets
    any of that beyond its `minimum`.

    Only `resize` changes `total` and `minimum`. If it lowers `total` below what is held, nothing is
    granted until enough is released.
    """

    def __init__(self, total: int, minimum: int) -> None:
        self.total = total
        self.minimum = minimum
        self.held = 0
        self.rooms = 0
        self.buffers = 0
        self.aside = 0
        self._queue: deque[Entry] = deque()

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
        """Bytes that a new upload may be granted at first. If they are few, `Pacer` grants more."""
        # Rooms and buffers do not count: a few that hold them must not slow down new uploads.
        return max(0, self.total // HEAD_START - (self.held - self.rooms - self.buffers))

    def room(self, held: int, held_by_user: int) -> int:
        """Bytes that an upload which holds `held` may be promised: at least `minimum`, or 0.

        All uploads of its user together hold `held_by_user`. While the queue is not empty, memory
        is given only to its first entry.
        """
        if self._queue or self.free < self.minimum:
            return 0
        free = self.free - self.aside
        share = min(
            (free - SHARE * held) // (SHARE + 1),
            max((free - held_by_user) // 2, MIN_SHARES * self.minimum - held),
        )
        if share >= self.minimum:
            return share
        return self.minimum if held == 0 else 0

    def take_room(self, wanted: int, least: int) -> int:
        """Hold a room of at most `wanted` bytes; returns its size: at least `least`, or 0.

        It has at most a quarter of what is left for rooms, and of the free bytes. While the queue
        is not empty there is none.
        """
        left = min(self.total // ROOMS - self.rooms, self.free)
        room = min(wanted, left // SHARE)
        if self._queue or room < least or room < 0:
            return 0
        self.rooms += room
        self.held += room
        return room

    def give_room_back(self, length: int) -> list[Entry]:
        """Release `length` bytes that `take_room` has returned; otherwise as `give_back`."""
        self.rooms -= length
        return self.give_back(length)

    def take(self, length: int) -> None:
        """Hold `length` bytes, at most what `room` has just returned."""
        self.held += length

    def give_back(self, length: int) -> list[Entry]:
        """Release `length` bytes, which were stored or will not come.

        Returns the entries that were removed from the queue: each now holds `minimum` bytes.
        """
        self.held -= length
        return self._serve()

    def resize(self, total: int, minimum: int) -> list[Entry]:
        """Change the memory to `total` bytes, and the minimum share to `minimum`.

        Returns the entries that were removed from the queue, as `give_back` does.
        """
        self.total, self.minimum = total, minimum
        return self._serve()

    def wait(self, entry: Entry) -> None:
        """Add an upload to the queue. It must hold nothing, and `room` must be 0 for it."""
        self._queue.append(entry)

    def leave(self, entry: Entry) -> None:
        """Remove an upload that stopped waiting."""
        self._queue.remove(entry)

    def _serve(self) -> list[Entry]:
        served = []
        while self._queue and self.free >= self.minimum:
            served.append(self._queue.popleft())
            self.held += self.minimum
        return served
