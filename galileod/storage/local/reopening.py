"""Opening the file of a suspended upload again."""

import errno
import os
import stat

from attrs import frozen

from galileod.storage.base import MissingError, translated

from .spool import Spool
from .suspended import Suspended

_NOT_THE_FILE = {errno.ENOENT, errno.ELOOP, errno.EISDIR, errno.ENXIO}
"""Errors of opening a name that is missing, or is not that of a regular file."""


@frozen
class Reopened:
    """The file, open as `fd` and positioned at its end, at `offset`.

    `known` is what the store remembers of it, unless that is not true of the file any more.
    """

    fd: int
    offset: int
    known: Suspended | None


def reopen(spool: Spool, upload: str, suspended: Suspended | None) -> Reopened:
    """Open the file of `upload` for writing. Blocks. Raises MissingError and StorageError.

    A file in the spool that has a second name was published, and must not be written to again.
    """
    with translated("cannot open the spool file again"):
        fd = _open(spool, upload) if suspended is None or suspended.fd is None else suspended.fd
        try:
            links = 0 if suspended is not None and fd == suspended.fd else 1
            return _position(fd, spool, links, suspended)
        except BaseException:
            if suspended is None or fd != suspended.fd:
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


def _position(fd: int, spool: Spool, links: int, suspended: Suspended | None) -> Reopened:
    state = os.fstat(fd)
    if state.st_nlink != links or (links and not usable(state, spool)):
        raise MissingError("the file in the spool was published, or is not the daemon's own")
    size = offset = state.st_size
    if suspended is not None and size != suspended.offset:
        # Another program has changed it. What it has written behind the end is removed.
        offset = min(size, suspended.offset)
        if size > offset:
            os.ftruncate(fd, offset)
        suspended = None
    os.lseek(fd, offset, os.SEEK_SET)
    return Reopened(fd, offset, suspended)
