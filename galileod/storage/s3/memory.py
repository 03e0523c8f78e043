"""The memory for parts of files that a store collects before it can store them."""

from typing import Protocol


class PartMemory(Protocol):
    """Memory that all uploads share, in bytes. Those of one `owner` leave some for others."""

    @property
    def largest(self) -> int:
        """The largest buffer that may be asked for."""

    def take(self, length: int, owner: str) -> bool:
        """Hold `length` bytes, if there is room for them, and nobody waits for some."""

    async def wait(self, length: int, owner: str) -> None:
        """Hold `length` bytes, once there is room for them, in the order of the calls.

        To be called for the first buffer of an upload only, before data is asked for. An upload
        that waits for another while it holds data could keep all from going on.
        """

    def give_back(self, length: int, owner: str) -> None:
        """Release `length` bytes."""
