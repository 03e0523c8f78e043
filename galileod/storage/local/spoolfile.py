"""One file that is not published yet: writing to it, its hashes, and making it durable."""

import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import structlog
import trio
from attrs import Factory, define, field
from structlog.typing import FilteringBoundLogger

from galileod.storage.errors import StorageError
from galileod.storage.oserrors import translated

from .copying import copy
from .filesync import FileSync
from .hashing import RunningHash
from .identity import identity_of
from .timing import Observe, timed
from .writeback import start_writeback

WRITEBACK_STEP: Final = 8 * 1024 * 1024
"""Bytes after which the kernel is asked to start writing them to the disk."""

MOST_PIECES: Final = 1024
"""Maximum buffers that Linux accepts in one writev (IOV_MAX)."""

READ_BACK: Final = 1024 * 1024
"""Bytes read at a time for a hash."""

_CLOSED: Final = -1

_log: FilteringBoundLogger = structlog.get_logger()


@define(eq=False)
class SpoolFile:
    """The file of the upload `name`, open as `fd`. All methods block.

    It has this name in the spool, unless it is `unnamed`. `offset` bytes stand in it; during
    `append`, those before it. If `durable`, it is made durable by `file_sync`. Only one method is
    called at a time, but `extend_hash` and `checkpoint` may run beside `append`.
    """

    name: str
    fd: int
    unnamed: bool
    durable: bool
    running_hash: RunningHash
    _file_sync: FileSync
    _observe: Observe
    offset: int = 0
    _written: int = field(init=False, default=Factory(lambda self: self.offset, takes_self=True))
    _writeback_until: int = field(
        init=False, default=Factory(lambda self: self.offset, takes_self=True)
    )
    _using: threading.Lock = field(init=False, factory=threading.Lock)
    """Held while an fsync runs, so that its descriptor is not closed."""

    def identity(self, *, inode_kept: bool) -> str:
        """See `identity_of`. Raises StorageError."""
        with translated("cannot stat the file"):
            return identity_of(os.fstat(self.fd), inode_kept=inode_kept)

    def modified(self) -> int:
        """When it was written last, in nanoseconds since the epoch. Raises StorageError."""
        with translated("cannot stat the file"):
            return os.fstat(self.fd).st_mtime_ns

    def append(self, pieces: Sequence[bytes], *, hash_beside: bool = True) -> None:
        """Write the pieces, and hash them. Raises StorageError.

        With `hash_beside`, another thread may hash them meanwhile, and go on after this.
        """
        try:
            with self.running_hash.beside(pieces, self.offset, parallel=hash_beside):
                self._write(pieces)
        finally:
            self.offset = self._written

    @property
    def behind(self) -> bool:
        """Whether the running hash does not cover all bytes, so that they must be read back."""
        return self.running_hash.position < self.offset

    def extend_hash(self) -> None:
        """Read back the next bytes that the running hash does not cover. Raises StorageError."""
        position = self.running_hash.position
        length = min(READ_BACK, self.offset - position)
        if length > 0:
            self.running_hash.extend([self._read(length, position)], position)

    def read_back(self, kind: str) -> str:
        """Read the file and return its hash in hex. Raises StorageError and trio.Cancelled."""
        digest = hashlib.new(kind, usedforsecurity=False)
        position = 0
        while position < self.offset:
            trio.from_thread.check_cancelled()
            data = self._read(READ_BACK, position)
            digest.update(data)
            position += len(data)
        return digest.hexdigest()

    def move(self, fd: int, checkpoint: Callable[[], None]) -> None:
        """Copy the file to the empty unnamed file `fd`, and take that in its place.

        `checkpoint` is called now and then, and may raise. If this fails, `fd` is closed. Raises
        StorageError.
        """
        try:
            copy(self.fd, fd, self.offset, checkpoint)
        except BaseException:
            os.close(fd)
            raise
        self.close()
        self.fd, self.unnamed = fd, True

    def checkpoint(self) -> int:
        """Make what was written durable; returns how many bytes are. Raises StorageError.

        An unnamed file does not survive the process, so that nothing of it is durable.
        """
        with self._using:
            if self.unnamed:
                self._file_sync.check()
                return 0
            return self._file_sync.checkpoint(self.fd, self.offset)

    def sync(self) -> None:
        """Make the complete file durable. Raises StorageError."""
        with self._using:
            self._file_sync.complete(self.fd)
        if not self.unnamed:
            self._reopen_for_reading()

    def close(self) -> None:
        """Close the descriptor, if it is still open."""
        with self._using:
            fd, self.fd = self.fd, _CLOSED
            if fd != _CLOSED:
                close_file(fd, self.name)

    def _reopen_for_reading(self) -> None:
        """Keep the complete file open only for reading.

        If it were closed for writing after it was moved into its folder, programs that watch the
        folder would get IN_CLOSE_WRITE after IN_MOVED_TO, and might take it for another file.
        """
        try:
            fd = os.open(f"/proc/self/fd/{self.fd}", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return  # without /proc, or without the permission to read: they get both
        self.close()
        self.fd = fd

    def _read(self, length: int, position: int) -> bytes:
        with translated("cannot read back"):
            data = os.pread(self.fd, length, position)
        if not data:
            raise StorageError("cannot read back: the spool file is shorter than written")
        return data

    def _write(self, pieces: Sequence[bytes]) -> None:
        for written in write_all(self.fd, pieces, self._observe):
            self._written += written
        pending = self._written - self._writeback_until
        if self.durable and pending >= WRITEBACK_STEP:
            start_writeback(self.fd, self._writeback_until, pending)
            self._writeback_until = self._written


def write_all(fd: int, pieces: Sequence[bytes], observe: Observe) -> Iterator[int]:
    """Write the pieces; yields the number of bytes after each call. Raises StorageError."""
    rest = [memoryview(piece) for piece in pieces]
    while rest:
        with translated("cannot write"), timed(observe):
            written = os.writev(fd, rest[:MOST_PIECES])
        yield written
        while rest and written >= len(rest[0]):
            written -= len(rest.pop(0))
        if written:
            rest[0] = rest[0][written:]


def close_file(fd: int, name: str) -> None:
    """Close the descriptor of the file `name`. Never raises OSError."""
    try:
        os.close(fd)
    except OSError as error:
        # Linux frees the descriptor anyway, and fsync has already reported write errors.
        _log.warning("storage.close_failed", path=name, reason=str(error))
