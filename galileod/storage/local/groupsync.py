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
        """Block until an fsync that began after this call has ended; raises its OSError.

        Every thread of a batch gets the error: Linux reports it only once, so a second fsync would
        succeed although data was lost.
        """
        # `_next` is replaced before the fsync begins. So each thread of the batch made its change
        # before the fsync, which covers it.
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
