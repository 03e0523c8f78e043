"""One fsync for all who ask at the same time."""

import os
import threading

from .timing import Observe, timed, unheard


class _Batch:
    """Those who wait for the same fsync, and how it went."""

    def __init__(self) -> None:
        self.done = False
        self.error: OSError | None = None


class GroupSync:
    """fsync of one descriptor, shared by threads: what comes together is made durable together.

    Many small files that are stored at once need one fsync of their directory, not one each.
    """

    def __init__(self, fd: int, observe: Observe = unheard) -> None:
        self._fd = fd
        self._observe = observe
        self._syncing = threading.Lock()
        self._next = _Batch()

    def sync(self) -> None:
        """Wait for an fsync that began after this call. Blocks; raises the OSError of that fsync.

        All who shared it get its error: it is reported once, and the next one would say nothing.
        """
        # Whoever reads this before it is exchanged has done their work before the fsync begins.
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
