"""fsync of one file, and none any more after one that has failed."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from galileod.storage.errors import StorageError
from galileod.storage.oserrors import translated

from .timing import Observe, timed


class FileSync:
    """Makes one file durable, unless it is not `enabled`. One thread at a time uses it. Blocks.

    `durable` bytes survive a power failure, with the name in the spool, which `sync_name` makes
    durable. `observe` receives the duration of each fsync of the file, in seconds.

    After a failure the data is lost, and every further call raises StorageError: Linux reports an
    error once, so that a second fsync would succeed.
    """

    def __init__(
        self, sync_name: Callable[[], None], observe: Observe, *, enabled: bool, durable: int = 0
    ) -> None:
        self.durable = durable
        self._sync_name = sync_name
        self._observe = observe
        self._enabled = enabled
        self._named = durable > 0
        self._failed = False

    def checkpoint(self, fd: int, offset: int) -> int:
        """Make the first `offset` bytes durable, and the name; returns `durable`."""
        with self._final("cannot make the received data durable"):
            if self._enabled and offset > self.durable:
                with timed(self._observe):
                    os.fdatasync(fd)
                if not self._named:
                    self._sync_name()
                    self._named = True
                self.durable = offset
        return self.durable

    def complete(self, fd: int) -> None:
        """Make the complete file durable, with its permissions."""
        with self._final("cannot make the file durable"):
            if self._enabled:
                with timed(self._observe):
                    os.fsync(fd)

    def check(self) -> None:
        """Raise StorageError if an fsync has failed."""
        if self._failed:
            raise StorageError("the file is damaged: an earlier fsync of it has failed")

    @contextmanager
    def _final(self, step: str) -> Iterator[None]:
        self.check()
        try:
            with translated(step):
                yield
        except BaseException:
            self._failed = True
            raise
