"""The store in a local directory: opening it, and its threads."""

import os
from collections.abc import Callable, Collection
from contextlib import ExitStack
from typing import Final

import structlog
import trio
from structlog.typing import FilteringBoundLogger

from galileod.policy.publication import OnConflict
from galileod.storage.base import Found, Progress, Space, Store, ignore_progress, translated
from galileod.storage.settings import Storage

from .directory import Directory
from .folders import Folders
from .scan import scan
from .sink import LocalSink, StoreParts
from .spool import Spool
from .spoolfile import SpoolFile
from .statedir import StateDirectory
from .target import check_target, create_file
from .threads import Threads
from .timing import Timings

PART_SIZE: Final = 2 * 1024 * 1024
"""Bytes of one thread call: enough to outweigh its cost, and few enough to stay in the CPU cache
while they are hashed and written."""

_log: FilteringBoundLogger = structlog.get_logger()


class LocalStore(Store):
    """Files in `settings.directory`, which one process at a time may open. Use `open`."""

    def __init__(
        self, settings: Storage, directory: Directory, state: StateDirectory, timings: Timings
    ) -> None:
        self.location = directory.path
        self.part_size = PART_SIZE
        self.threads = Threads()
        self._settings = settings
        self._timings = timings
        self._directory = directory
        self._state = state
        self._spool = Spool(state.spool_fd)
        folders = Folders(directory.fd, timings.fsync_directory, lambda: self._spool.maps_names)
        self._parts = StoreParts(directory, folders, self._spool, self.threads)
        self._opened = ExitStack()

    @classmethod
    def open(
        cls,
        settings: Storage,
        timings: Timings = Timings(),  # noqa: B008  it is frozen
        step: Callable[[], None] = lambda: None,
    ) -> "LocalStore":
        """Open the directory, create it if it is missing, and remove spool files left by a crash.

        Blocks; called only at startup. `step` is called repeatedly; what it raises ends the call.
        Raises StorageError if another daemon uses the directory, if it cannot be written, or if its
        filesystem can neither rename without replacing nor link.
        """
        path = os.path.abspath(settings.directory)
        with translated(f"cannot use {path}"), ExitStack() as opened:
            directory = Directory.open(path, opened)
            state = StateDirectory.open(directory, opened)
            store = cls(settings, directory, state, timings)
            cleared = store._spool.clear(step)
            store._spool.examine()
            store._opened = opened.pop_all()
        if cleared:
            _log.info("spool.cleared", files=cleared)
        return store

    async def create(self, upload: str, path: str) -> LocalSink:
        """Open the folder, check what it may refuse, and create the file there or in the spool."""
        settings = self._settings
        fd, unnamed = await trio.to_thread.run_sync(
            self._create, upload, path, settings.on_conflict, limiter=self.threads.openers
        )
        durable = settings.durability == "full"
        file = SpoolFile(
            upload, fd, self.threads.hashers, self._timings, unnamed=unnamed, durable=durable
        )
        return LocalSink(self._parts, file, path, settings.on_conflict, durable=durable)

    async def free(self) -> int:
        """The free space of the filesystem for users other than root, in bytes."""
        # If the disk hangs, the limiter bounds the threads that cancelled callers leave behind.
        return await trio.to_thread.run_sync(
            self._free, limiter=self.threads.openers, abandon_on_cancel=True
        )

    async def free_at(self, path: str) -> Space:
        """The free space of the filesystem on which the folder of `path` is, or will be."""
        return await trio.to_thread.run_sync(
            self._space, path, limiter=self.threads.openers, abandon_on_cancel=True
        )

    async def check(self) -> None:
        """Check the directory; create a file and publish it in the spool, and remove it."""
        await trio.to_thread.run_sync(
            self._check, limiter=self.threads.checkers, abandon_on_cancel=True
        )

    def scan(self, identities: Collection[str] = (), progress: Progress = ignore_progress) -> Found:
        """The finished files. A name that is not UTF-8, which others made, is escaped."""
        return scan(self._directory.fd, identities, progress)

    def reconfigure(self, settings: Storage) -> None:
        """Use `on_conflict` and `durability` of `settings`; the directory stays the same."""
        self._settings = settings

    def close(self) -> None:
        """Release the directory for another daemon."""
        self.threads.hashers.shutdown()
        self._opened.close()

    def _make_ready(self) -> None:
        """Check that files can be stored below `location`, and restore the state directory."""
        self._directory.check()
        self._state.restore()

    def _create(self, upload: str, path: str, on_conflict: OnConflict) -> tuple[int, bool]:
        self._make_ready()
        folder_path, _, name = path.rpartition("/")
        with self._parts.folders.open(folder_path) as folder:
            check_target(self._spool, folder, name, on_conflict)
            return create_file(self._spool, folder, upload)

    def _check(self) -> None:
        self._make_ready()
        self._spool.probe()

    def _free(self) -> int:
        return self._space("").free

    def _space(self, path: str) -> Space:
        # The first step of an upload: if this fails, no quota and no single-use ticket is used up.
        self._make_ready()
        folder, _, _ = path.rpartition("/")
        with translated("cannot get the free space"), self._parts.folders.nearest(folder) as fd:
            status = os.fstatvfs(fd)
            return Space(os.fstat(fd).st_dev, status.f_bavail * status.f_frsize)
