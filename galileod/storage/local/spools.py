"""The spools of the nodes with one directory: a file that was kept is moved to who continues it.

The ledger decides who that is, before the file is moved. So nobody moves a file that another node
writes, and a file that was not moved yet, since the node that claimed it has crashed, is found by
the next one. A node that was taken for dead cannot publish a file that was moved.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import structlog
from attrs import frozen
from structlog.typing import FilteringBoundLogger

from galileod.storage.oserrors import translated

from .directory import DIRECTORY
from .listing import entries_of
from .spool import Spool, marked
from .statedir import SPOOL
from .suspended import Suspended

_STEP: Final = "cannot use the spool of another node"

_log: FilteringBoundLogger = structlog.get_logger()


@frozen
class OtherSpools:
    """The spools in the directory `fd`, except `own`, which is that of the node `name`.

    All methods block.
    """

    fd: int
    name: str
    own: Spool

    def claim(self, upload: str, suspended: Suspended | None, *, durable: bool) -> Suspended | None:
        """Move the file of the upload into the own spool, if it is in another one.

        Returns what of `suspended` is still true of it. If `durable`, the file is found after a
        power failure. Raises StorageError.
        """
        with translated(_STEP):
            try:
                state = os.stat(upload, dir_fd=self.own.fd, follow_symlinks=False)
            except FileNotFoundError:
                self.take(upload, durable=durable)
                return None
        if suspended is None or suspended.is_of(state):
            return suspended
        return None  # it was continued elsewhere, and left here by a node that has ended since

    def take(self, upload: str, *, durable: bool) -> bool:
        """Move the file of the upload from another spool; returns whether it is in one.

        Raises OSError.
        """

        def move(fd: int) -> None:
            os.rename(upload, upload, src_dir_fd=fd, dst_dir_fd=self.own.fd)
            if durable:
                self.own.sync()
                os.fsync(fd)

        return self._find(move)

    def remove(self, upload: str) -> None:
        """Remove the file of the upload from another spool, if it is in one."""
        try:
            self._find(lambda fd: os.unlink(upload, dir_fd=fd))
        except OSError as error:
            _log.warning("storage.leftover", path=upload, reason=str(error))

    def unmark(self, upload: str) -> None:
        """Remove the file of an upload that was being published, if that cannot be told from it.

        Raises OSError.
        """
        if self.own.counts_links:
            return
        self.own.remove(marked(upload))
        self._find(lambda fd: os.unlink(marked(upload), dir_fd=fd))

    def _find(self, act: Callable[[int], None]) -> bool:
        """Call `act` with one spool after the other, until it finds its file there."""
        for node in self._others():
            with self._opened(node) as fd:
                if fd is None:
                    continue
                try:
                    act(fd)
                except FileNotFoundError:
                    continue
                return True
        return False

    def _others(self) -> list[str]:
        with entries_of(self.fd) as entries:
            return sorted(entry.name for entry in entries if entry.name != self.name)

    @contextmanager
    def _opened(self, node: str) -> Iterator[int | None]:
        """The spool of another node, opened for the block; None if there is none."""
        try:
            fd = os.open(f"{node}/{SPOOL}", DIRECTORY | os.O_NOFOLLOW, dir_fd=self.fd)
        except (FileNotFoundError, NotADirectoryError):
            yield None
            return
        try:
            yield fd
        finally:
            os.close(fd)
