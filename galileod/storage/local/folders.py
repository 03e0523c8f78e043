"""The folders of a store: opened and created level by level, and made durable by fsync."""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

from attrs import frozen

from galileod.storage.base import ConflictError
from galileod.storage.oserrors import translated

from .directory import DIRECTORY
from .diskname import name_on_disk
from .groupsync import GroupSync
from .makefolder import make_folder
from .timing import Observe, ignore, timed

FOLDER_MODE: Final = 0o750

MAX_KNOWN: Final = 10_000
"""Maximum paths of durable folders that are remembered. At this number all are forgotten."""


@frozen
class Folder:
    """An open folder; `path` is its path below the directory, with the names that the disk has."""

    fd: int
    path: str
    _observe: Observe
    _group: GroupSync | None = None

    def sync(self) -> None:
        """Make the names in the folder durable. Blocks; raises OSError."""
        if self._group:
            self._group.sync()
        else:
            with timed(self._observe):
                os.fsync(self.fd)


class Folders:
    """The folders below the directory `fd`, which must stay open. Safe to use from many threads.

    `observe` receives the duration of each fsync of a folder, in seconds. If `maps_names` returns
    True, a folder may be listed under another name than the one by which it was opened.
    """

    def __init__(
        self,
        fd: int,
        observe: Observe = ignore,
        maps_names: Callable[[], bool] = bool,
    ) -> None:
        self._observe = observe
        self._maps_names = maps_names
        self._root = Folder(fd, "", observe, GroupSync(fd, observe))
        self._durable: set[str] = set()

    @contextmanager
    def open(self, path: str) -> Iterator[Folder]:
        """The folder at `path`. Missing folders are created, and their names made durable.

        An empty path is the directory itself. Blocks. Raises ConflictError if something other than
        a folder has that name, and StorageError.
        """
        if not path:
            yield self._root
            return
        with ExitStack() as opened:
            fd, here = self._root.fd, ""
            for name in path.split("/"):
                here = f"{here}/{name}" if here else name
                with translated(f"cannot use the folder {here}"):
                    child = self._enter(fd, name, here)
                opened.callback(os.close, child)
                if self._maps_names():
                    with translated(f"cannot use the folder {here}"):
                        here = here.removesuffix(name) + name_on_disk(fd, name)
                fd = child
            yield Folder(fd, here, self._observe)

    @contextmanager
    def nearest(self, path: str) -> Iterator[tuple[Folder, bool]]:
        """The folder at `path`, or the deepest one above it that exists; and whether it is the one.

        Blocks; creates nothing. Raises ConflictError and StorageError as `open` does.
        """
        folder, exists = self._root, True
        with ExitStack() as opened:
            for name in path.split("/") if path else ():
                here = f"{folder.path}/{name}" if folder.path else name
                with translated(f"cannot use the folder {here}"):
                    try:
                        fd = _open(folder.fd, name, here)
                    except FileNotFoundError:
                        exists = False
                        break
                opened.callback(os.close, fd)
                folder = Folder(fd, here, self._observe)
            yield folder, exists

    def _enter(self, fd: int, name: str, path: str) -> int:
        made = False
        try:
            child = _open(fd, name, path)
        except FileNotFoundError:
            made = make_folder(fd, name, FOLDER_MODE)
            child = _open(fd, name, path)
        try:
            # A folder that another thread made a moment ago may not be durable yet.
            if made or path not in self._durable:
                with timed(self._observe):
                    os.fsync(fd)
                if len(self._durable) >= MAX_KNOWN:
                    self._durable.clear()
                self._durable.add(path)
        except BaseException:
            os.close(child)
            raise
        return child


def _open(parent_fd: int, name: str, path: str) -> int:
    """Open the folder `name`, which is at `path`. Raises ConflictError and OSError."""
    try:
        return os.open(name, DIRECTORY | os.O_NOFOLLOW, dir_fd=parent_fd)
    except OSError as error:
        if error.errno in (errno.ENOTDIR, errno.ELOOP):
            raise ConflictError(f"{path} is not a folder") from None
        raise
