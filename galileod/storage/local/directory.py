"""The directory of a local store: its lock, and the check that its path still leads to it."""

import errno
import fcntl
import os
import threading
import time
from contextlib import ExitStack
from typing import Final, Self

import structlog
from structlog.typing import FilteringBoundLogger

from galileod.storage.errors import StorageError
from galileod.storage.oserrors import translated

DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC

POLL_SECONDS: Final = 0.01
"""Seconds between two attempts to lock a file, if there are several."""

_CANNOT_LOCK: Final = {errno.EBADF, errno.EINVAL, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}
"""What flock(2) fails with on filesystems that cannot lock a directory."""

_log: FilteringBoundLogger = structlog.get_logger()


class Directory:
    """The directory at the absolute `path`, open as `fd`. Safe to use from many threads.

    Files are stored through the descriptor. So they would not be below `path` if the directory was
    moved, or another filesystem was mounted over it or detached from it; `check` finds that out.
    """

    def __init__(self, path: str, fd: int) -> None:
        self.path = path
        self.fd = fd
        self._problem: str | None = None
        self._reporting = threading.Lock()

    @classmethod
    def open(cls, path: str, opened: ExitStack, *, shared: bool = False) -> Self:
        """Open and lock the directory; create it if it is missing. `shared` is as for `lock`.

        Raises OSError, and StorageError if another process has locked it.
        """
        os.makedirs(path, mode=0o750, exist_ok=True)
        fd = closed_by(opened, os.open(path, DIRECTORY))
        # The lock file may be removed by a program that deletes old files; the directory may not.
        try:
            lock(fd, path, shared=shared)
        except OSError as error:
            if error.errno not in _CANNOT_LOCK:
                raise
            # The lock file is locked as well.
        return cls(path, fd)

    def check(self) -> None:
        """Raise StorageError if another directory is at the path, or none. Blocks.

        The first failure of a series and the end of the series are logged.
        """
        problem = self._find_problem()
        if problem != self._problem:
            self._report(problem)
        if problem is not None:
            raise StorageError(problem)

    def _find_problem(self) -> str | None:
        try:
            found = os.stat(self.path)
        except OSError as error:
            return (
                f"storage.directory cannot be reached by its path ({error.strerror});"
                " restore it, or restart galileod"
            )
        with translated("cannot stat the open directory"):
            if os.path.samestat(found, os.fstat(self.fd)):
                return None
        return (
            "storage.directory was moved, mounted over or unmounted: another directory is at its"
            " path; undo that, or restart galileod"
        )

    def _report(self, problem: str | None) -> None:
        with self._reporting:
            before, self._problem = self._problem, problem
        if problem is None and before is not None:
            _log.info("storage.directory_restored", path=self.path)
        elif problem is not None and before is None:
            _log.error("storage.directory_changed", path=self.path, reason=problem)


def lock(
    fd: int,
    directory: str,
    *,
    shared: bool = False,
    key: str = "storage.directory",
    seconds: float = 0.0,
) -> None:
    """Lock an open file or directory for this process; `shared` with others that share it.

    `key` is the setting that is another for each process. For so many `seconds`, it is tried again.

    Raises OSError, and StorageError, which names `directory`, if another process has locked it.
    """
    end = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() < end:
                time.sleep(POLL_SECONDS)
                continue
            raise StorageError(
                f"another galileod uses {directory}; stop it, or set another {key}"
            ) from None
        return


def closed_by(opened: ExitStack, fd: int) -> int:
    """Let `opened` close the descriptor; returns it."""
    opened.callback(os.close, fd)
    return fd
