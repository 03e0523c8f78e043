"""The buffers of one upload: one is filled, while the parts in others are sent."""

from collections.abc import Sequence
from typing import Final

from attrs import define

from .memory import PartMemory
from .sha1 import Sha1

MOST: Final = 5
"""Maximum buffers of an upload. With four parts on their way, a store with a round trip of 50 ms
gets 8 MiB parts at 5 Gbit/s."""


@define(eq=False)
class Buffer:
    """Memory for one part, of which the first `length` bytes are filled."""

    data: bytearray
    length: int = 0

    @property
    def full(self) -> bool:
        """Whether nothing fits any more."""
        return self.length == len(self.data)

    @property
    def content(self) -> bytearray | memoryview:
        """The bytes that are filled."""
        return self.data if self.full else memoryview(self.data)[: self.length]

    def put(self, data: bytes) -> None:
        """Begin with these bytes, which are hashed already."""
        self.data[: len(data)] = data
        self.length = len(data)

    def fill(self, pieces: Sequence[bytes], at: int, running: Sha1) -> tuple[int, int]:
        """Copy pieces until it is full, from byte `at` of the first on, and hash them.

        Returns how many pieces fitted, and how much of the next one did. In a thread.
        """
        begin, view = self.length, memoryview(self.data)
        try:
            for number, piece in enumerate(pieces):
                rest = len(piece) - at
                copied = min(rest, len(self.data) - self.length)
                # A slice of bytes would be copied.
                source = piece if copied == len(piece) else memoryview(piece)[at : at + copied]
                view[self.length : self.length + copied] = source
                self.length += copied
                if copied < rest:
                    return number, at + copied
                at = 0
            return len(pieces), 0
        finally:
            running.update(view[begin : self.length])


class Buffers:
    """The memory of one upload, in buffers of `size` bytes."""

    def __init__(self, memory: PartMemory, size: int) -> None:
        self._memory = memory
        self._size = size
        self._free: list[Buffer] = []
        self._count = 0
        self._closed = False
        self._owner = ""

    async def wait(self, owner: str) -> Buffer:
        """The first buffer, once there is memory for it. All are held for `owner`."""
        await self._memory.wait(self._size, owner)
        self._owner = owner
        return self._new()

    def take(self) -> Buffer | None:
        """One more buffer, if there is memory for it."""
        if self._free:
            buffer = self._free.pop()
            buffer.length = 0
            return buffer
        if self._count < MOST and self._memory.take(self._size, self._owner):
            return self._new()
        return None

    def give_back(self, buffer: Buffer) -> None:
        """A buffer is not used any more. It is kept for the next part if that comes soon."""
        used = self._count - len(self._free) - 1
        # With one that is filled and none on its way, the data comes more slowly than it is stored.
        if self._closed or self._free or used == 1:
            self._release()
        else:
            self._free.append(buffer)

    def close(self) -> None:
        """Release what is not used; buffers in use are released when they are given back."""
        self._closed = True
        while self._free:
            self._free.pop()
            self._release()

    def _new(self) -> Buffer:
        self._count += 1
        return Buffer(bytearray(self._size))

    def _release(self) -> None:
        self._count -= 1
        self._memory.give_back(self._size, self._owner)
