"""The folders of a store: opened and made step by step, and as durable as the files in them."""

import errno
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

from attrs import frozen

from .base import ConflictError, translated
from .groupsync import GroupSync
from .timing import Observe, timed, unheard

FOLDER_MODE: Final = 0o750

MAX_DEPTH: Final = 8
"""Folders on the way to a file that are looked into; no layout has more."""

MAX_KNOWN: Final = 10_000
"""Folders that are remembered as durable; when there are more it is found out anew."""

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@frozen
class Folder:
    """An open folder."""

    fd: int
    _observe: Observe
    _names: GroupSync | None = None

    def sync(self) -> None:
        """Make the names in it durable. Blocks; raises OSError."""
        if self._names:
            self._names.sync()
        else:
            with timed(self._observe):
                os.fsync(self.fd)


class Folders:
    """What stands below the directory `fd`, which stays open for as long. For threads.

    `observe` is told how long the fsync of a folder took, in seconds.
    """

    def __init__(self, fd: int, observe: Observe = unheard) -> None:
        self._observe = observe
        self._root = Folder(fd, observe, GroupSync(fd, observe))
        self._known: set[str] = set()

    @contextmanager
    def open(self, path: str) -> Iterator[Folder]:
        """The folder at `path`, made where it is missing; its own name is durable by then.

        An empty path is the directory itself. Blocks. Raises ConflictError where something else
        stands in its place, and StorageError.
        """
        if not path:
            yield self._root
            return
        with ExitStack() as opened:
            fd, here = self._root.fd, ""
            for step in path.split("/"):
                here = f"{here}/{step}"
                with translated(f"cannot use the folder {here[1:]}"):
                    below = self._enter(fd, step, here)
                opened.callback(os.close, below)
                fd = below
            yield Folder(fd, self._observe)

    def _enter(self, fd: int, step: str, path: str) -> int:
        try:
            os.mkdir(step, dir_fd=fd)
        except FileExistsError:
            made = False
        else:
            made = True
        try:
            below = os.open(step, _DIRECTORY, dir_fd=fd)
        except OSError as error:
            if error.errno in (errno.ENOTDIR, errno.ELOOP):
                raise ConflictError(f"{path[1:]} is no folder") from None
            raise
        try:
            if made:
                os.fchmod(below, FOLDER_MODE)
            # One that another thread made a moment ago may not be durable yet.
            if made or path not in self._known:
                with timed(self._observe):
                    os.fsync(fd)
                if len(self._known) >= MAX_KNOWN:
                    self._known.clear()
                self._known.add(path)
        except BaseException:
            os.close(below)
            raise
        return below


def files_below(fd: int, prefix: str, depth: int) -> Iterator[tuple[str, os.stat_result]]:
    """Paths and states of the ordinary files in the folder `fd`, and `depth` folders below it.

    What is hidden is none of them. Links are not followed. Blocks; raises OSError.
    """
    with os.scandir(fd) as entries:
        for entry in entries:
            name = os.fsencode(entry.name).decode(errors="backslashreplace")
            if entry.is_file(follow_symlinks=False):
                yield prefix + name, entry.stat(follow_symlinks=False)
            elif depth and not name.startswith(".") and entry.is_dir(follow_symlinks=False):
                try:
                    below = os.open(entry.name, _DIRECTORY, dir_fd=fd)
                except PermissionError:
                    continue  # somebody else's, such as lost+found: none of our files is in there
                try:
                    yield from files_below(below, f"{prefix}{name}/", depth - 1)
                finally:
                    os.close(below)
