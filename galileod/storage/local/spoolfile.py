"""One file that is not published yet: writing to it, its hashes, and its fsync."""

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import structlog
import trio
from structlog.typing import FilteringBoundLogger

from galileod.storage.base import StorageError, translated

from .copying import copy
from .hashing import RunningHash
from .identity import identity_of
from .timing import Timings, timed
from .writeback import start_writeback

WRITEBACK_STEP: Final = 8 * 1024 * 1024
"""Bytes after which the kernel is asked to start writing them to the disk."""

MOST_PIECES: Final = 1024
"""Maximum buffers that Linux accepts in one writev (IOV_MAX)."""

READ_BACK: Final = 1024 * 1024
"""Bytes read at a time for a hash other than the running one."""

_log: FilteringBoundLogger = structlog.get_logger()


class SpoolFile:
    """The file of the upload `name`, open as `fd`. All methods block; one is called at a time.

    It has this name in the spool, unless it is `unnamed`. If `durable`, `sync` calls fsync.
    """

    def __init__(
        self,
        name: str,
        fd: int,
        hashers: ThreadPoolExecutor,
        timings: Timings,
        *,
        unnamed: bool = False,
        durable: bool,
    ) -> None:
        self.name = name
        self.unnamed = unnamed
        self.running_hash = RunningHash(hashers)
        self._fd = fd
        self._timings = timings
        self._durable = durable
        self._written = 0
        self._writeback_until = 0

    @property
    def fd(self) -> int:
        """The descriptor of the file."""
        return self._fd

    def identity(self, *, inode_kept: bool) -> str:
        """See `identity_of`. Raises StorageError."""
        with translated("cannot stat the file"):
            return identity_of(os.fstat(self._fd), inode_kept=inode_kept)

    def append(self, pieces: Sequence[bytes]) -> None:
        """Write the pieces, and hash them; hashing may continue after this. Raises StorageError."""
        with self.running_hash.beside(pieces):
            self._write(pieces)

    def read_back(self, kind: str) -> str:
        """Read the file and return its hash in hex. Raises StorageError and trio.Cancelled."""
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

    def move(self, fd: int, checkpoint: Callable[[], None]) -> None:
        """Copy the file to the empty unnamed file `fd`, and take that in its place.

        `checkpoint` is called now and then, and may raise. If this fails, `fd` is closed. Raises
        StorageError.
        """
        try:
            copy(self._fd, fd, self._written, checkpoint)
        except BaseException:
            os.close(fd)
            raise
        self.close()
        self._fd, self.unnamed = fd, True

    def sync(self) -> None:
        """Make the file durable. Raises StorageError."""
        if self._durable:
            with translated("cannot make the file durable"), timed(self._timings.fsync_file):
                # Never repeated: after a failure a second fsync succeeds without the data.
                os.fsync(self._fd)
        if not self.unnamed:
            self._reopen_for_reading()

    def close(self) -> None:
        """Close the descriptor."""
        try:
            os.close(self._fd)
        except OSError as error:
            # Linux frees the descriptor anyway, and fsync has already reported write errors.
            _log.warning("storage.close_failed", path=self.name, reason=str(error))

    def _reopen_for_reading(self) -> None:
        """Keep the complete file open only for reading.

        If it were closed for writing after it was moved into its folder, programs that watch the
        folder would get IN_CLOSE_WRITE after IN_MOVED_TO, and might take it for another file.
        """
        try:
            fd = os.open(f"/proc/self/fd/{self._fd}", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return  # without /proc, or without the permission to read: they get both
        self.close()
        self._fd = fd

    def _write(self, pieces: Sequence[bytes]) -> None:
        rest = [memoryview(piece) for piece in pieces]
        with translated("cannot write"):
            while rest:
                with timed(self._timings.write):
                    written = os.writev(self._fd, rest[:MOST_PIECES])
                self._written += written
                while rest and written >= len(rest[0]):
                    written -= len(rest.pop(0))
                if written:
                    rest[0] = rest[0][written:]
        pending = self._written - self._writeback_until
        if self._durable and pending >= WRITEBACK_STEP:
            start_writeback(self._fd, self._writeback_until, pending)
            self._writeback_until = self._written
