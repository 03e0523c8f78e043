"""The state directory of a local store: the lock file and the spool directory in it.

Programs that delete old files may remove them while the daemon runs. They are then made anew.
"""

import os
import threading
from contextlib import ExitStack
from typing import Final, Self

import structlog
from structlog.typing import FilteringBoundLogger

from galileod.storage.oserrors import translated
from galileod.storage.state import STATE_DIRECTORY

from .acl import DEFAULT, remove_acl
from .directory import DIRECTORY, Directory, closed_by, lock

LOCK: Final = "lock"
SPOOL: Final = "spool"

_LOCK_FILE: Final = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC

_log: FilteringBoundLogger = structlog.get_logger()


class StateDirectory:
    """`.galileod` in the directory `parent`. Safe to use from many threads.

    `fd`, `lock_fd` and `spool_fd` are open descriptors of it, of its lock file, and of the spool
    directory. They keep their numbers when what they refer to is made anew.
    """

    def __init__(self, parent: Directory, fd: int, lock_fd: int, spool_fd: int) -> None:
        self.fd = fd
        self.spool_fd = spool_fd
        self._parent = parent
        self._lock_fd = lock_fd
        self._restoring = threading.Lock()

    @classmethod
    def open(cls, parent: Directory, opened: ExitStack) -> Self:
        """Open or create all of it, and lock the lock file.

        Raises OSError, and StorageError if another process has locked the file.
        """
        fd = closed_by(opened, _open_directory(parent.fd, STATE_DIRECTORY))
        # Locked although the directory is: an older galileod locks only the file, and some
        # filesystems cannot lock a directory.
        lock_fd = closed_by(opened, _open_lock(fd, parent.path))
        spool_fd = closed_by(opened, _open_directory(fd, SPOOL))
        return cls(parent, fd, lock_fd, spool_fd)

    def restore(self) -> None:
        """Make anew what was removed or replaced since it was opened. Blocks.

        Raises StorageError if that fails, or if another daemon uses the directory meanwhile.
        """
        with self._restoring, translated(f"cannot restore {STATE_DIRECTORY}"):
            # In this order, since the second and the third are in the first.
            if not _is_at(self.fd, STATE_DIRECTORY, self._parent.fd):
                _replace(self.fd, _open_directory(self._parent.fd, STATE_DIRECTORY))
                self._report()
            if not _is_at(self._lock_fd, LOCK, self.fd):
                _replace(self._lock_fd, _open_lock(self.fd, "storage.directory"))
                self._report(LOCK)
            if not _is_at(self.spool_fd, SPOOL, self.fd):
                _replace(self.spool_fd, _open_directory(self.fd, SPOOL))
                self._report(SPOOL)

    def _report(self, *name: str) -> None:
        path = os.path.join(self._parent.path, STATE_DIRECTORY, *name)
        _log.warning("storage.state_restored", path=path)


def _is_at(fd: int, name: str, parent_fd: int) -> bool:
    """Whether `name` in the parent is what is open as `fd`."""
    try:
        found = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(found, os.fstat(fd))


def _replace(fd: int, fresh: int) -> None:
    """Let the descriptor `fd` refer to what `fresh` refers to, and close `fresh`.

    In one step: another thread that uses `fd` gets the old or the new one, and no third file.
    """
    try:
        os.dup2(fresh, fd, inheritable=False)
    finally:
        os.close(fresh)


def _open_lock(parent_fd: int, directory: str) -> int:
    fd = os.open(LOCK, _LOCK_FILE, 0o600, dir_fd=parent_fd)
    try:
        lock(fd, directory)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _open_directory(parent_fd: int, name: str) -> int:
    """Open the directory `name` in the parent, with mode 0700; create it if it is missing."""
    try:
        os.mkdir(name, mode=0o700, dir_fd=parent_fd)
        os.fsync(parent_fd)  # what is kept in it is to survive a power failure
    except FileExistsError:
        pass  # created at an earlier start; O_NOFOLLOW refuses a symbolic link
    fd = os.open(name, DIRECTORY | os.O_NOFOLLOW, dir_fd=parent_fd)
    try:
        os.fchmod(fd, 0o700)
        remove_acl(fd, DEFAULT)  # the files in it would inherit it
    except BaseException:
        os.close(fd)
        raise
    return fd
