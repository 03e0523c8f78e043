"""The running hash of a file, computed beside its writing."""

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final

from .base import RUNNING_HASH

HASHERS: Final = 2
"""Threads that hash while a writer writes the same bytes; where none is free the writer does both.
On two cores without SHA instructions this made one upload up to 1.7 times as fast."""

WORTH_A_HASHER: Final = 256 * 1024
"""Bytes below which it costs more to hand them to another thread than to hash them."""


class RunningHash:
    """The hash of one file. Bytes go in by `beside`, one call at a time; all share `hashers`."""

    def __init__(self, hashers: ThreadPoolExecutor) -> None:
        self._hashers = hashers
        self._hash = hashlib.new(RUNNING_HASH, usedforsecurity=False)
        self._trailing: Future[None] | None = None

    @contextmanager
    def beside(self, pieces: Sequence[bytes]) -> Iterator[None]:
        """Hash the pieces while the `with` block does something else with them.

        The end of it may trail behind the block, by the pieces of one call for each of the threads
        that all files share. Blocks until those of the call before are done: a hash has its order.
        """
        self.catch_up()
        if sum(map(len, pieces)) < WORTH_A_HASHER:
            self.feed(pieces)
            yield
            return
        hashing = self._hashers.submit(self.feed, pieces)
        yield
        if hashing.cancel():
            self.feed(pieces)  # no thread has come to it; what waits for one is not to pile up
        else:
            self._trailing = hashing

    def feed(self, pieces: Sequence[bytes]) -> None:
        """Hash the pieces now."""
        for piece in pieces:
            self._hash.update(piece)

    def catch_up(self) -> None:
        """Wait for what is still being hashed."""
        if self._trailing:
            self._trailing.result()
            self._trailing = None

    @property
    def behind(self) -> bool:
        """Whether something is still being hashed."""
        return self._trailing is not None and not self._trailing.done()

    def hexdigest(self) -> str:
        """The hash of all that went in. Blocks as `catch_up` does."""
        self.catch_up()
        return self._hash.hexdigest()
