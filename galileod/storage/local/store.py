"""The store in a local directory: opening it, and its threads."""

import fcntl
import os
from collections.abc import Callable, Collection
from contextlib import ExitStack
from typing import Final

import structlog
import trio
from structlog.typing import FilteringBoundLogger

from galileod.storage.base import Found, Progress, StorageError, Store, ignore_progress, translated
from galileod.storage.settings import Storage
from galileod.storage.state import STATE_DIRECTORY

from .folders import Folders
from .publish import already_exists
from .scan import scan
from .sink import LocalSink, StoreParts
from .spool import Spool
from .spoolfile import SpoolFile
from .threads import Threads
from .timing import Timings

PART_SIZE: Final = 2 * 1024 * 1024
"""Bytes of one thread call: enough to outweigh its cost, and few enough to stay in the CPU cache
while they are hashed and written."""

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_LOCK_FILE: Final = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC

_log: FilteringBoundLogger = structlog.get_logger()


class LocalStore(Store):
    """Files in `settings.directory`, which one process at a time may open. Use `open`."""

    def __init__(
        self, settings: Storage, location: str, fds: tuple[int, int], timings: Timings
    ) -> None:
        self.location = location
        self.part_size = PART_SIZE
        self.threads = Threads()
        self._settings = settings
        self._timings = timings
        self._directory_fd, spool_fd = fds
        self._spool = Spool(spool_fd)
        folders = Folders(self._directory_fd, timings.fsync_directory)
        self._parts = StoreParts(location, folders, self._spool, self.threads)
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
        filesystem has no hard links.
        """
        directory = os.path.abspath(settings.directory)
        with translated(f"cannot use {directory}"), ExitStack() as opened:
            os.makedirs(directory, mode=0o750, exist_ok=True)
            directory_fd = _closed_by(opened, os.open(directory, _DIRECTORY))
            state_fd = _private_directory(opened, directory_fd, STATE_DIRECTORY)
            lock_fd = _closed_by(opened, os.open("lock", _LOCK_FILE, 0o600, dir_fd=state_fd))
            try:
                fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StorageError(f"another galileod uses {directory}") from None
            spool_fd = _private_directory(opened, state_fd, "spool")
            store = cls(settings, directory, (directory_fd, spool_fd), timings)
            cleared = store._spool.clear(step)
            store._spool.probe()
            store._opened = opened.pop_all()
        if cleared:
            _log.info("spool.cleared", files=cleared)
        return store

    async def create(self, upload: str, path: str) -> LocalSink:
        """Open the spool file. With `on_conflict = "reject"`, a name that exists fails here."""
        settings = self._settings
        reject = settings.on_conflict == "reject"
        fd = await trio.to_thread.run_sync(
            self._create, upload, path, reject, limiter=self.threads.openers
        )
        durable = settings.durability == "full"
        file = SpoolFile(upload, fd, self.threads.hashers, self._timings, durable=durable)
        return LocalSink(self._parts, file, path, settings.on_conflict, durable=durable)

    async def free(self) -> int:
        """The free space of the filesystem for users other than root, in bytes."""
        # If the disk hangs, the limiter bounds the threads that cancelled callers leave behind.
        return await trio.to_thread.run_sync(
            self._free, limiter=self.threads.openers, abandon_on_cancel=True
        )

    async def check(self) -> None:
        """Create a file and link it, as an upload does, and remove both."""
        await trio.to_thread.run_sync(
            self._spool.probe, limiter=self.threads.checkers, abandon_on_cancel=True
        )

    def scan(self, identities: Collection[str] = (), progress: Progress = ignore_progress) -> Found:
        """The finished files; their identities are inode numbers."""
        return scan(self._directory_fd, identities, progress)

    def reconfigure(self, settings: Storage) -> None:
        """Use `on_conflict` and `durability` of `settings`; the directory stays the same."""
        self._settings = settings

    def close(self) -> None:
        """Release the directory for another daemon."""
        self.threads.hashers.shutdown()
        self._opened.close()

    def _create(self, upload: str, path: str, reject: bool) -> int:
        if reject:
            try:
                os.stat(path, dir_fd=self._directory_fd, follow_symlinks=False)
            except OSError:
                pass  # most likely it does not exist; `commit` decides, when it links the file
            else:
                raise already_exists(path)
        return self._spool.create(upload)

    def _free(self) -> int:
        with translated("cannot get the free space"):
            status = os.fstatvfs(self._directory_fd)
        return status.f_bavail * status.f_frsize


def _closed_by(opened: ExitStack, fd: int) -> int:
    opened.callback(os.close, fd)
    return fd


def _private_directory(opened: ExitStack, parent_fd: int, name: str) -> int:
    """Open the directory `name` in the parent, with mode 0700; create it if it is missing."""
    try:
        os.mkdir(name, mode=0o700, dir_fd=parent_fd)
    except FileExistsError:
        pass  # created at an earlier start; O_NOFOLLOW refuses a symbolic link
    fd = _closed_by(opened, os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=parent_fd))
    os.fchmod(fd, 0o700)
    return fd
