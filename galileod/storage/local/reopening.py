"""Opening the file of a suspended upload again."""

import errno
import os
import stat
from typing import Final

from attrs import frozen

from galileod.storage.errors import MissingError
from galileod.storage.oserrors import translated

from .spool import Spool
from .suspended import Suspended

_NOT_THE_FILE: Final = {errno.ENOENT, errno.ELOOP, errno.EISDIR, errno.ENXIO}
"""Errors of opening a name that is missing, or is not that of a regular file."""


@frozen
class Opened:
    """The file of an upload, open as `fd` and positioned at its end, at `offset`.

    It is `unnamed`, or has its name in the spool. `known` is what the store remembers of it, unless
    that is not true of the file any more.
    """

    fd: int
    unnamed: bool
    offset: int = 0
    known: Suspended | None = None


def reopen(spool: Spool, upload: str, suspended: Suspended | None) -> Opened:
    """Open the file of `upload` for writing. Blocks. Raises MissingError and StorageError.

    A file in the spool that has a second name was published, and must not be written to again.
    """
    with translated("cannot open the spool file again"):
        if suspended is not None and suspended.fd is not None:
            if os.fstat(suspended.fd).st_nlink:
                raise MissingError("the file was published")
            return _positioned(suspended.fd, suspended, unnamed=True)
        fd = _open(spool, upload)
        try:
            _check(spool.stat(fd), spool)
            return _positioned(fd, suspended, unnamed=False)
        except BaseException:
            os.close(fd)
            raise


def usable(state: os.stat_result, spool: Spool) -> bool:
    """Whether this is a regular file that galileod has created in the spool. Raises OSError."""
    # Some filesystems show another owner for all files than the user who creates them.
    owners = os.geteuid(), os.fstat(spool.fd).st_uid
    return stat.S_ISREG(state.st_mode) and state.st_uid in owners


def _open(spool: Spool, upload: str) -> int:
    try:
        return spool.open(upload)
    except OSError as error:
        if error.errno in _NOT_THE_FILE:
            raise MissingError("there is no such file in the spool") from None
        raise


def _check(state: os.stat_result, spool: Spool) -> None:
    if not usable(state, spool):
        raise MissingError("the spool file is not one of the daemon")
    if state.st_nlink > 1:
        raise MissingError("the spool file was published")


def _positioned(fd: int, suspended: Suspended | None, *, unnamed: bool) -> Opened:
    state = os.fstat(fd)
    size = offset = state.st_size
    if suspended is not None and not suspended.is_of(state):
        # Another program has changed it. What it has written behind the end is removed.
        offset = min(size, suspended.offset)
        if size > offset:
            os.ftruncate(fd, offset)
        suspended = None
    if suspended is None:
        # It will be read back. With more read-ahead, that is twice as fast on a disk.
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)
    os.lseek(fd, offset, os.SEEK_SET)
    return Opened(fd, unnamed, offset, suspended)
