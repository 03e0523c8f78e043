"""The store on a local filesystem.

A file is spooled under `.galileod/spool/`, made durable there, and linked into the directory under
its name; the link is made durable too. All names are opened relative to directory descriptors, and
none of them ever follows a symbolic link.
"""

import fcntl
import hashlib
import os
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Final

import structlog
import trio
from structlog.typing import FilteringBoundLogger

from galileod.policy.names import numbered

from .base import (
    CLEANUP_SECONDS,
    RUNNING_HASH,
    ConflictError,
    Sink,
    StorageError,
    Store,
    Stored,
    translated,
)
from .folders import MAX_DEPTH, Folders, files_below
from .hashing import HASHERS, RunningHash
from .settings import Durability, OnConflict
from .timing import Timings, timed
from .writeback import start_writeback

STATE_DIRECTORY: Final = ".galileod"
LEDGER_FILE: Final = "ledger.sqlite3"
FILE_MODE: Final = 0o640
WRITERS: Final = 4
"""Threads that write and hash at once: two cores are busy with fewer, a slow disk wants some, and
with more of them everything else waits longer for its turn on a core."""
OPENERS: Final = 4
"""Threads for the short steps with which an upload begins, which must not wait behind data."""
COMMITTERS: Final = 16
"""Threads that commit at once, apart from the writers: a long fsync must not hold up data."""
TURN: Final = 1024 * 1024
"""Bytes after which an upload lets others write that wait. The less this is above the usual chunk,
the more alike they share a busy disk."""
WRITEBACK_STEP: Final = 8 * 1024 * 1024
"""Bytes after which the kernel is asked to begin writing them out."""
MOST_PIECES: Final = 1024
"""Pieces that Linux writes in one call (IOV_MAX)."""
READ_BACK: Final = 1024 * 1024
"""Bytes read at a time when a hash other than the running one is asked for."""
MAX_NUMBER: Final = 9999
"""The last number tried for a name that is taken."""

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NEW_FILE: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_LOCK_FILE: Final = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC

_log: FilteringBoundLogger = structlog.get_logger()


class LocalStore(Store):
    """Files in `directory`. Use `open`; one daemon at a time may hold a directory.

    `on_conflict` and `durability` may be set at any time: a file keeps those of its beginning.
    """

    def __init__(
        self,
        directory: str,
        on_conflict: OnConflict,
        durability: Durability,
        fds: tuple[int, int],
        timings: Timings,
    ) -> None:
        self.directory = directory
        self.on_conflict = on_conflict
        self.durability = durability
        self.directory_fd, self.spool_fd = fds
        self.timings = timings
        self._opened = ExitStack()
        self.writers = trio.CapacityLimiter(WRITERS)
        self.hashers = ThreadPoolExecutor(HASHERS, "hash")
        self.committers = trio.CapacityLimiter(COMMITTERS)
        self._openers = trio.CapacityLimiter(OPENERS)
        self.folders = Folders(self.directory_fd, timings.fsync_directory)
        self._checkers = trio.CapacityLimiter(1)

    @classmethod
    def open(
        cls,
        directory: str,
        on_conflict: OnConflict,
        durability: Durability,
        timings: Timings = Timings(),  # noqa: B008  it is frozen
    ) -> "LocalStore":
        """Take hold of `directory`, made where it is missing, and clear what a crash left there.

        Blocks; meant for the start. Raises StorageError where another daemon holds the directory,
        where it cannot be written, or where its filesystem has no hard links.
        """
        directory = os.path.abspath(directory)
        with translated(f"cannot use {directory}"), ExitStack() as opened:
            os.makedirs(directory, mode=0o750, exist_ok=True)
            directory_fd = _keep(opened, os.open(directory, _DIRECTORY))
            state_fd = _private_directory(opened, directory_fd, STATE_DIRECTORY)
            lock_fd = _keep(opened, os.open("lock", _LOCK_FILE, 0o600, dir_fd=state_fd))
            try:
                fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StorageError(f"another galileod stores into {directory}") from None
            spool_fd = _private_directory(opened, state_fd, "spool")
            left_over = os.listdir(spool_fd)
            for entry in left_over:
                os.unlink(entry, dir_fd=spool_fd)
            store = cls(directory, on_conflict, durability, (directory_fd, spool_fd), timings)
            store.probe()
            store._opened = opened.pop_all()
        if left_over:
            _log.info("spool.cleared", files=len(left_over))
        return store

    @property
    def ledger_path(self) -> str:
        """Where the ledger of this directory stands."""
        return os.path.join(self.directory, STATE_DIRECTORY, LEDGER_FILE)

    def close(self) -> None:
        """Let go of the directory."""
        self.hashers.shutdown()
        self._opened.close()

    async def create(self, upload: str, path: str) -> "LocalSink":
        """Open the spool file. Where conflicts are rejected, a name that is taken is so at once."""
        on_conflict, durable = self.on_conflict, self.durability == "full"
        fd = await trio.to_thread.run_sync(
            self._create, upload, path, on_conflict, limiter=self._openers
        )
        return LocalSink(self, upload, path, fd, on_conflict, durable=durable)

    async def free(self) -> int:
        """What the filesystem has left for users that are not root."""
        # Whoever asks may go away; on a disk that hangs the limiter bounds the threads left behind.
        return await trio.to_thread.run_sync(
            self._free, limiter=self._openers, abandon_on_cancel=True
        )

    def files(self) -> dict[str, int]:
        """The finished files by their paths, with their sizes. Blocks; meant for the start.

        A name that is no UTF-8, which only somebody else can have made, is shown with escapes.
        """
        with translated("cannot list the directory"):
            found = files_below(self.directory_fd, "", MAX_DEPTH)
            return {path: state.st_size for path, state in found}

    def find(self, inodes: Collection[int]) -> dict[int, str]:
        """Which of these stand in the directory, and their paths. Blocks; meant for the start."""
        with translated("cannot list the directory"):
            found = files_below(self.directory_fd, "", MAX_DEPTH)
            return {state.st_ino: path for path, state in found if state.st_ino in inodes}

    async def check(self) -> None:
        """Make a file and link it, as an upload does, and remove both."""
        # One at a time, and apart from the writers: a disk that hangs keeps no more than a thread.
        await trio.to_thread.run_sync(self.probe, limiter=self._checkers, abandon_on_cancel=True)

    def probe(self) -> None:
        """The blocking part of `check`: link a new file within the spool."""
        name = f"probe-{os.urandom(8).hex()}"
        linked = f"{name}-linked"
        with translated("cannot make and link files in the spool"):
            os.close(self._open_spool(name))
            try:
                os.link(name, linked, src_dir_fd=self.spool_fd, dst_dir_fd=self.spool_fd)
                os.unlink(linked, dir_fd=self.spool_fd)
            finally:
                os.unlink(name, dir_fd=self.spool_fd)

    def _free(self) -> int:
        with translated("cannot ask for free space"):
            status = os.fstatvfs(self.directory_fd)
        return status.f_bavail * status.f_frsize

    def _create(self, upload: str, path: str, on_conflict: OnConflict) -> int:
        if on_conflict == "reject":
            try:
                os.stat(path, dir_fd=self.directory_fd, follow_symlinks=False)
            except OSError:
                pass  # not there, most likely; the link at the end is what decides
            else:
                raise _taken(path)
        return self._open_spool(upload)

    def _open_spool(self, upload: str) -> int:
        with translated("cannot open a spool file"):
            return os.open(upload, _NEW_FILE, 0o600, dir_fd=self.spool_fd)


class LocalSink(Sink):
    """One spool file on its way. Its blocking parts run one at a time, in threads."""

    def __init__(
        self,
        store: LocalStore,
        upload: str,
        path: str,
        fd: int,
        on_conflict: OnConflict,
        *,
        durable: bool,
    ) -> None:
        self._store = store
        self._on_conflict = on_conflict
        self._durable = durable
        self.replaces = on_conflict == "replace"
        self._spool = upload
        self._folder, _, self._name = path.rpartition("/")
        self._fd = fd
        self._hash = RunningHash(store.hashers)
        self._written = 0
        self._handed_out = 0
        self._open = True

    async def write(self, pieces: Sequence[bytes]) -> None:
        """Hash and write in one thread hop; the end of the hash may trail behind."""
        writers = self._store.writers
        for turn in [pieces] if writers.available_tokens else turns(pieces, TURN):
            await trio.to_thread.run_sync(self._write, turn, limiter=writers)

    async def digest(self, kind: str) -> str:
        """The running hash at once; any other by reading the spool file back."""
        if kind == RUNNING_HASH:
            if self._hash.behind:
                await trio.to_thread.run_sync(self._hash.catch_up, limiter=self._store.writers)
            return self._hash.hexdigest()
        return await trio.to_thread.run_sync(self._read_back, kind, limiter=self._store.committers)

    @property
    def inode(self) -> int:
        """The spool file's, which it keeps when it is published."""
        with translated("cannot look at the spool file"):
            return os.fstat(self._fd).st_ino

    async def commit(self) -> Stored:
        """fsync, publish, fsync of the directory; in that order, each once."""
        return await trio.to_thread.run_sync(self._commit, limiter=self._store.committers)

    async def discard(self) -> None:
        """Close and unlink the spool file."""
        if not self._open:
            return
        # A limiter of its own, so that it never waits behind others on a disk that stalls; a thread
        # that is left behind still comes to its end.
        with trio.CancelScope(shield=True, deadline=trio.current_time() + CLEANUP_SECONDS):
            await trio.to_thread.run_sync(
                self._discard, abandon_on_cancel=True, limiter=trio.CapacityLimiter(1)
            )

    def _write(self, pieces: Sequence[bytes]) -> None:
        with self._hash.beside(pieces):
            self._append(pieces)

    def _append(self, pieces: Sequence[bytes]) -> None:
        rest = [memoryview(piece) for piece in pieces]
        with translated("cannot write"):
            while rest:
                with timed(self._store.timings.write):
                    written = os.writev(self._fd, rest[:MOST_PIECES])
                self._written += written
                while rest and written >= len(rest[0]):
                    written -= len(rest.pop(0))
                if written:
                    rest[0] = rest[0][written:]
        behind = self._written - self._handed_out
        if self._durable and behind >= WRITEBACK_STEP:
            start_writeback(self._fd, self._handed_out, behind)
            self._handed_out = self._written

    def _read_back(self, kind: str) -> str:
        digest = hashlib.new(kind, usedforsecurity=False)
        offset = 0
        with translated("cannot read back"):
            while offset < self._written:
                trio.from_thread.check_cancelled()
                data = os.pread(self._fd, READ_BACK, offset)
                if not data:
                    raise StorageError("cannot read back: the spool file is shorter than written")
                digest.update(data)
                offset += len(data)
        return digest.hexdigest()

    def _commit(self) -> Stored:
        store = self._store
        with translated("cannot make the file durable"):
            os.fchmod(self._fd, FILE_MODE)
            if self._durable:
                with timed(store.timings.fsync_file):
                    os.fsync(self._fd)  # never tried again: a second fsync can lie about the first
        with store.folders.open(self._folder) as folder:
            name = self._publish(folder.fd)
            try:
                if self._durable:
                    with translated("cannot make the file's name durable"):
                        folder.sync()
            except StorageError:
                self._withdraw(folder.fd, name)
                raise
        self._discard()
        path = f"{self._folder}/{name}" if self._folder else name
        return Stored(path, os.path.join(store.directory, path))

    def _publish(self, folder_fd: int) -> str:
        """Give the spool file its name in its folder, and say which it became."""
        store = self._store
        fds = {"src_dir_fd": store.spool_fd, "dst_dir_fd": folder_fd}
        with translated("cannot publish the file"):
            if self.replaces:
                return self._replace(fds)
            for name in self._candidates():
                try:
                    os.link(self._spool, name, **fds, follow_symlinks=False)
                except FileExistsError:
                    continue
                return name
        raise _taken(self._name)

    def _candidates(self) -> Iterator[str]:
        yield self._name
        if self._on_conflict == "rename":
            for number in range(1, MAX_NUMBER + 1):
                yield numbered(self._name, number)

    def _replace(self, fds: dict[str, int]) -> str:
        try:
            os.rename(self._spool, self._name, **fds)
        except IsADirectoryError:
            raise ConflictError(f"{self._name} is a directory") from None
        return self._name

    def _withdraw(self, folder_fd: int, name: str) -> None:
        # A file that took another's place stays: it is whole, and what it replaced is gone.
        if self.replaces:
            return
        try:
            os.unlink(name, dir_fd=folder_fd)
        except OSError as error:
            _log.warning("storage.leftover", path=name, reason=str(error))

    def _discard(self) -> None:
        self._open = False
        try:
            os.unlink(self._spool, dir_fd=self._store.spool_fd)
        except FileNotFoundError:
            pass  # renamed into its place
        except OSError as error:
            # The file is stored or given up by now; what is left here goes at the next start.
            _log.warning("storage.leftover", path=self._spool, reason=str(error))
        try:
            os.close(self._fd)
        except OSError as error:
            # Linux frees the descriptor all the same; what had to be durable went through fsync.
            _log.warning("storage.close_failed", path=self._spool, reason=str(error))


def turns(pieces: Sequence[bytes], most: int) -> Iterator[list[bytes]]:
    """The pieces in their order, at most `most` bytes at a time, or a piece that is larger."""
    turn, length = list[bytes](), 0
    for piece in pieces:
        if turn and length + len(piece) > most:
            yield turn
            turn, length = [], 0
        turn.append(piece)
        length += len(piece)
    if turn:
        yield turn


def _taken(name: str) -> ConflictError:
    return ConflictError(f"a file named {name} is there already")


def _keep(opened: ExitStack, fd: int) -> int:
    opened.callback(os.close, fd)
    return fd


def _private_directory(opened: ExitStack, parent_fd: int, name: str) -> int:
    """Open the directory `name` within the parent, made with mode 0700 where it is missing."""
    try:
        os.mkdir(name, mode=0o700, dir_fd=parent_fd)
    except FileExistsError:
        pass  # from an earlier start; O_NOFOLLOW below refuses a link put there by somebody else
    fd = _keep(opened, os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=parent_fd))
    os.fchmod(fd, 0o700)
    return fd
