"""The folders of a store: opened, created and removed level by level."""

import errno
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Final

import structlog
from attrs import frozen
from structlog.typing import FilteringBoundLogger

from galileod.storage.errors import ConflictError, StorageError
from galileod.storage.oserrors import translated

from .directory import DIRECTORY
from .diskname import name_on_disk
from .durablenames import DurableNames
from .groupsync import GroupSync
from .listing import entries_of
from .makefolder import make_folder
from .timing import Observe, ignore, timed

FOLDER_MODE: Final = 0o750

TRIES: Final = 10
"""How often a folder is opened or created, if others remove it at the same time."""

_log: FilteringBoundLogger = structlog.get_logger()


class GoneError(StorageError):
    """The folder was removed since it was opened."""


@frozen
class _Unsynced:
    """A folder whose name in its `parent` may not be durable; `generation` is its own."""

    parent: "Folder"
    path: str
    generation: int


@frozen
class Folder:
    """An open folder; `path` is its path below the directory, with the names that the disk has.

    `made` are the paths of the folders that were created for it, outermost first.
    """

    fd: int
    path: str
    _observe: Observe
    _group: GroupSync | None = None
    made: tuple[str, ...] = ()
    _names: DurableNames | None = None
    _unsynced: Sequence[_Unsynced] = ()

    def sync(self) -> None:
        """Make its own name durable, and the names in it. Blocks; raises OSError."""
        for one in self._unsynced:
            one.parent.sync()
        if self._group:
            self._group.sync()
        else:
            with timed(self._observe):
                os.fsync(self.fd)
        if self._names is not None:
            for one in self._unsynced:
                self._names.add(one.path, one.generation)


class Folders:
    """The folders below the directory `fd`, which must stay open. Safe to use from many threads.

    `observe` receives the duration of each fsync of a folder, in seconds. If `maps_names` returns
    True, a folder may be listed under another name than the one by which it was opened. The folder
    `state_fd` in the directory is never opened, by whatever name. If they are `shared`, other
    processes make and remove folders too.
    """

    def __init__(
        self,
        fd: int,
        observe: Observe = ignore,
        maps_names: Callable[[], bool] = bool,
        state_fd: int | None = None,
        *,
        shared: bool = False,
    ) -> None:
        self._observe = observe
        self._maps_names = maps_names
        self._state_fd = state_fd
        self._root = Folder(fd, "", observe, GroupSync(fd, observe))
        self._names = DurableNames(shared=shared)
        self._unused: set[str] = set()  # created for files that are not published yet

    @contextmanager
    def open(self, path: str) -> Iterator[Folder]:
        """The folder at `path`. Missing folders are created; `Folder.sync` makes them durable.

        At the end of the block, those that are empty are removed, unless a file was published in
        them: then call `keep`. An empty path is the directory itself. Blocks. Raises ConflictError
        if something other than a folder has that name, and StorageError.
        """
        if not path:
            yield self._root
            return
        made: dict[str, None] = {}
        try:
            with ExitStack() as opened:
                yield self._open(path, opened, made)
        finally:
            if made:
                self.remove(self._unused.intersection(made))
                self._unused.difference_update(made)

    def keep(self, folder: Folder) -> None:
        """A file was published in the folder, which `open` has returned."""
        self._unused.difference_update(folder.made)

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
                        fd = self._enter(folder, name, here)
                    except FileNotFoundError:
                        exists = False
                        break
                opened.callback(os.close, fd)
                folder = Folder(fd, here, self._observe)
            yield folder, exists

    def remove(self, paths: Iterable[str]) -> None:
        """Remove those of the folders that exist and are empty, the deepest first.

        Blocks; never raises StorageError. No link is followed.
        """
        for path in sorted(paths, key=lambda path: path.count("/"), reverse=True):
            try:
                self._remove(path)
            except (OSError, StorageError) as error:
                _log.warning("storage.leftover", path=path, reason=str(error))

    def _open(self, path: str, opened: ExitStack, made: dict[str, None]) -> Folder:
        for last in [False] * (TRIES - 1) + [True]:
            with ExitStack() as levels:
                try:
                    folder = self._descend(path, levels, made)
                except GoneError:
                    if last:
                        raise
                    continue
                opened.push(levels.pop_all())
                return folder
        raise AssertionError("the last try returns or raises")

    def _descend(self, path: str, opened: ExitStack, made: dict[str, None]) -> Folder:
        folder, unsynced = self._root, list[_Unsynced]()
        for name in path.split("/"):
            here = f"{folder.path}/{name}" if folder.path else name
            with translated(f"cannot use the folder {here}"):
                generation = self._names.generation(here)
                new = False
                try:
                    fd = self._enter(folder, name, here)
                except FileNotFoundError:
                    fd, generation, new = self._make(folder, name, here)
                opened.callback(os.close, fd)
                if generation is not None:
                    unsynced.append(_Unsynced(folder, here, generation))
                if self._maps_names():
                    here = here.removesuffix(name) + name_on_disk(folder.fd, name)
            if new:
                self._unused.add(here)
            if here in self._unused:
                made[here] = None
            folder = Folder(fd, here, self._observe)
        return Folder(
            folder.fd, folder.path, self._observe, None, tuple(made), self._names, unsynced
        )

    def _make(self, parent: Folder, name: str, path: str) -> tuple[int, int, bool]:
        """Create a folder that is missing; returns its descriptor and generation.

        Also whether it is new: another thread may have created it. Raises GoneError, ConflictError
        and OSError.
        """
        generation = self._names.forget(path)
        try:
            new = make_folder(parent.fd, name, FOLDER_MODE)
            return self._enter(parent, name, path), generation, new
        except FileNotFoundError:
            raise GoneError(
                f"cannot use the folder {path}: it is removed again and again"
            ) from None

    def _enter(self, parent: Folder, name: str, path: str) -> int:
        """Open the folder `name`, which is at `path`. Raises ConflictError and OSError."""
        try:
            fd = os.open(name, DIRECTORY | os.O_NOFOLLOW, dir_fd=parent.fd)
        except OSError as error:
            if error.errno in (errno.ENOTDIR, errno.ELOOP):
                raise ConflictError(f"{path} is not a folder") from None
            raise
        if parent is self._root and self._is_state(fd):
            os.close(fd)
            raise ConflictError(f"{path} is the directory in which galileod keeps its state")
        return fd

    def _is_state(self, fd: int) -> bool:
        """Whether the folder in the directory is `.galileod`; on vfat, that is GALILE~1 as well."""
        state_fd = self._state_fd
        return state_fd is not None and os.path.samestat(os.fstat(fd), os.fstat(state_fd))

    def _remove(self, path: str) -> None:
        above, _, name = path.rpartition("/")
        with self.nearest(path) as (folder, exists):
            if not exists:
                return
            with entries_of(folder.fd) as entries:
                if next(entries, None) is not None:
                    return
        with self.nearest(above) as (folder, exists):
            if exists:
                try:
                    os.rmdir(name, dir_fd=folder.fd)
                except OSError as error:
                    if error.errno not in (errno.ENOENT, errno.ENOTEMPTY):  # since a moment ago
                        raise
