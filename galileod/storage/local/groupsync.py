"""One fsync for all threads that ask for it at the same time."""

import os
import threading

from .timing import Observe, ignore, timed


class _Batch:
    """The threads that wait for the same fsync, and its outcome."""

    def __init__(self) -> None:
        self.done = False
        self.error: OSError | None = None


class GroupSync:
    """fsync of one descriptor, shared by threads.

    Many small files that are stored at once need one fsync of their directory, not one each.
    """

    def __init__(self, fd: int, observe: Observe = ignore) -> None:
        self._fd = fd
        self._observe = observe
        self._syncing = threading.Lock()
        self._next = _Batch()

    def sync(self) -> None:
        """Wait for an fsync that began after this call. Blocks; raises the OSError of that fsync.

        Every thread of a batch gets the error: Linux reports it once, and a second fsync would
        succeed.
        """
        # A thread that reads this before it is exchanged made its change before the fsync begins.
        batch = self._next
        with self._syncing:
            if not batch.done:
                self._next = _Batch()
                try:
                    with timed(self._observe):
                        os.fsync(self._fd)
                except OSError as error:
                    batch.error = error
                batch.done = True
        if batch.error is not None:
            raise OSError(*batch.error.args) from batch.error
