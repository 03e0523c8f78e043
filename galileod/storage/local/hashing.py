"""The running hash of a file, computed while the same bytes are written."""

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final

from galileod.storage.base import RUNNING_HASH

HASHERS: Final = 2
"""Threads that hash while a writer writes the same bytes; if all are busy, the writer does both.
On two cores without SHA instructions this made one upload up to 1.7 times as fast."""

THREAD_THRESHOLD: Final = 256 * 1024
"""Minimum bytes for another thread: handing over fewer costs more than hashing them."""


class RunningHash:
    """The hash of one file. One thread at a time calls `beside`; all files share `hashers`."""

    def __init__(self, hashers: ThreadPoolExecutor) -> None:
        self._hashers = hashers
        self._hash = hashlib.new(RUNNING_HASH, usedforsecurity=False)
        self._pending: Future[None] | None = None

    @contextmanager
    def beside(self, pieces: Sequence[bytes]) -> Iterator[None]:
        """Hash the pieces while the block does something else with them.

        First blocks until the pieces of the previous call are hashed. After the block, a thread of
        `hashers` that has begun to hash the pieces continues; if none has begun, they are hashed
        here. So the number of files with pieces that are not hashed yet is at most the number of
        threads.
        """
        self.catch_up()
        if sum(map(len, pieces)) < THREAD_THRESHOLD:
            self.feed(pieces)
            yield
            return
        hashing = self._hashers.submit(self.feed, pieces)
        yield
        if hashing.cancel():
            self.feed(pieces)  # all threads are busy; pieces must not accumulate in their queue
        else:
            self._pending = hashing

    def feed(self, pieces: Sequence[bytes]) -> None:
        """Hash the pieces now."""
        for piece in pieces:
            self._hash.update(piece)

    def catch_up(self) -> None:
        """Block until all pieces are hashed."""
        if self._pending:
            self._pending.result()
            self._pending = None

    @property
    def behind(self) -> bool:
        """Whether some pieces are still being hashed."""
        return self._pending is not None and not self._pending.done()

    def hexdigest(self) -> str:
        """The hash of all pieces. Blocks as `catch_up` does."""
        self.catch_up()
        return self._hash.hexdigest()
