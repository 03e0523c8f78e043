"""The state directory of a local store: its lock files, and the spool directory in it.

Programs that delete old files may remove them while the daemon runs. They are then made anew.
"""

import os
import threading
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Final, Self

import structlog
from attrs import frozen
from structlog.typing import FilteringBoundLogger

from galileod.storage.oserrors import translated
from galileod.storage.state import LOCK, NODES, STATE_DIRECTORY

from . import directoryid
from .acl import DEFAULT, remove_acl
from .directory import DIRECTORY, Directory, closed_by, lock

SPOOL: Final = "spool"

LOOKED_AT_SECONDS: Final = 1.0
"""Seconds in which the lock of a node is tried again: a node that starts looks whether it is free,
and holds it for a moment then."""

_LOCK_FILE: Final = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC

_log: FilteringBoundLogger = structlog.get_logger()


@frozen
class _Entry:
    """What is open as `fd`: `name` in the directory `parent_fd`. `make` opens or creates it.

    Its `path` is relative to the directory of the store.
    """

    fd: int
    parent_fd: int
    name: str
    path: str
    make: Callable[[], int]

    @classmethod
    def open(cls, parent: "_Entry | int", name: str, make: Callable[[int], int]) -> Self:
        """Open it in the parent, by what `make` does there. Raises what that raises."""
        above = parent if isinstance(parent, int) else parent.fd
        path = name if isinstance(parent, int) else f"{parent.path}/{name}"
        return cls(make(above), above, name, path, partial(make, above))

    def is_there(self) -> bool:
        """Whether it is still what its name leads to. Raises OSError."""
        try:
            found = os.stat(self.name, dir_fd=self.parent_fd, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return os.path.samestat(found, os.fstat(self.fd))

    def restore(self) -> None:
        """Open or create it again, with the same descriptor.

        In one step: another thread that uses it gets the old or the new one, and no third file.
        """
        fresh = self.make()
        try:
            os.dup2(fresh, self.fd, inheritable=False)
        finally:
            os.close(fresh)


class StateDirectory:
    """`.galileod` in the directory `parent`. Safe to use from many threads.

    A `node` is one of several daemons that use the directory: its spool and its lock are in a
    directory of its own below it. They know the directory by its `identity`. `fd`, `spool_fd` and
    `nodes_fd` are open descriptors of it, of the spool directory, and of the directory with those
    of all nodes, which there is only for a node. They keep their numbers when what they refer to is
    made anew.
    """

    def __init__(self, parent: Directory, opened: ExitStack, node: str | None) -> None:
        self._parent = parent
        self._named = parent.path  # in an error; what clients may hear later has no path
        self._restoring = threading.Lock()
        self._entries = list[_Entry]()

        def add(above: _Entry | int, name: str, make: Callable[[int], int]) -> _Entry:
            entry = _Entry.open(above, name, make)
            self._entries.append(entry)
            closed_by(opened, entry.fd)
            return entry

        def add_directory(above: _Entry | int, name: str) -> _Entry:
            return add(above, name, partial(_open_directory, name=name))

        state = own = add_directory(parent.fd, STATE_DIRECTORY)
        # Locked although the directory is: an older galileod locks only the file, and some
        # filesystems cannot lock a directory.
        add(state, LOCK, partial(self._open_lock, node=None, shared=node is not None))
        self.node = node
        self.identity: str | None = None
        self.nodes_fd: int | None = None
        if node is not None:
            identity = add(state, directoryid.FILE, self._open_identity)
            self.identity = directoryid.identity_in(identity.fd)
            nodes = add_directory(state, NODES)
            own = add_directory(nodes, node)
            add(own, LOCK, partial(self._open_lock, node=node, shared=False))
            self.nodes_fd = nodes.fd
        self.fd = state.fd
        self.spool_fd = add_directory(own, SPOOL).fd
        self._named = "storage.directory"

    @classmethod
    def open(cls, parent: Directory, opened: ExitStack, node: str | None = None) -> Self:
        """Open or create all of it, and lock the lock files.

        Raises OSError, and StorageError if another process has locked one.
        """
        return cls(parent, opened, node)

    def restore(self) -> None:
        """Make anew what was removed or replaced since it was opened. Blocks.

        Raises StorageError if that fails, or if another daemon uses the directory meanwhile.
        """
        with self._restoring, translated(f"cannot restore {STATE_DIRECTORY}"):
            for entry in self._entries:  # in this order, since later ones are in earlier ones
                if not entry.is_there():
                    entry.restore()
                    path = os.path.join(self._parent.path, entry.path)
                    _log.warning("storage.state_restored", path=path)

    def _open_identity(self, parent_fd: int) -> int:
        return directoryid.open_identity(parent_fd, self.identity)

    def _open_lock(self, parent_fd: int, *, node: str | None, shared: bool) -> int:
        fd = os.open(LOCK, _LOCK_FILE, 0o600, dir_fd=parent_fd)
        try:
            if node is None:
                lock(fd, self._named, shared=shared)
            else:
                named = f"{self._named} as the node {node}"
                lock(fd, named, shared=shared, key="ledger.node", seconds=LOOKED_AT_SECONDS)
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
