"""Publication: gives a complete file its final name in its folder."""

import errno
import os
from collections.abc import Iterator
from typing import Final, Protocol

import structlog
from attrs import frozen
from structlog.typing import FilteringBoundLogger

from galileod.policy.names import numbered
from galileod.policy.publication import OnConflict
from galileod.storage.errors import BadNameError, ConflictError, StorageError
from galileod.storage.oserrors import as_storage_error

from .folders import GoneError
from .leftovers import temporary_name
from .renaming import rename_noreplace
from .spool import Spool

MAX_NUMBER: Final = 9999
"""The highest number that is added to a name that exists."""

REFUSED_NAME: Final = {errno.ENAMETOOLONG, errno.EILSEQ, errno.EBADMSG}
"""Errors by which filesystems refuse a name; EBADMSG is that of sshfs for a name too long."""

_log: FilteringBoundLogger = structlog.get_logger()


class OtherFilesystemError(StorageError):
    """The folder is not on the filesystem of the file."""


class Source(Protocol):
    """A complete file that has no name in its folder yet."""

    def put(self, folder_fd: int, name: str) -> None:
        """Give it the name `name`; raises FileExistsError if there is one, and other OSErrors."""

    def replace(self, folder_fd: int, name: str) -> None:
        """Give it the name `name`, also if there is a file of that name. Raises OSError."""


@frozen
class Spooled:
    """The file `name` in the spool, on the same filesystem as the folder."""

    spool: Spool
    name: str

    def put(self, folder_fd: int, name: str) -> None:
        """See `Source`."""
        fds = {"src_dir_fd": self.spool.fd, "dst_dir_fd": folder_fd}
        if self.spool.renames:
            rename_noreplace(self.name, name, **fds)
        else:
            with self.spool.linked(self.name) as source:
                os.link(source, name, **fds, follow_symlinks=False)
            tell_watchers(folder_fd, name)

    def replace(self, folder_fd: int, name: str) -> None:
        """See `Source`."""
        os.rename(self.name, name, src_dir_fd=self.spool.fd, dst_dir_fd=folder_fd)


@frozen
class Unnamed:
    """The file `fd` on the filesystem of the folder, without any name (O_TMPFILE)."""

    fd: int
    upload: str

    def put(self, folder_fd: int, name: str) -> None:
        """See `Source`."""
        self._link(folder_fd, name)
        tell_watchers(folder_fd, name)

    def replace(self, folder_fd: int, name: str) -> None:
        """See `Source`. A link cannot replace a file, so the file first gets a temporary name."""
        temporary = temporary_name(self.upload)
        self._link(folder_fd, temporary)
        try:
            os.rename(temporary, name, src_dir_fd=folder_fd, dst_dir_fd=folder_fd)
        except OSError:
            os.unlink(temporary, dir_fd=folder_fd)
            raise

    def _link(self, folder_fd: int, name: str) -> None:
        # By the link in /proc, since linking a descriptor itself requires a capability.
        os.link(f"/proc/self/fd/{self.fd}", name, dst_dir_fd=folder_fd, follow_symlinks=True)


def publish(source: Source, folder_fd: int, name: str, on_conflict: OnConflict) -> str:
    """Publish the file in the folder as `name`; returns its final name.

    Blocks. Raises GoneError if the folder or the source does not exist any more,
    OtherFilesystemError, ConflictError, BadNameError and StorageError.
    """
    if on_conflict == "replace":
        try:
            source.replace(folder_fd, name)
        except IsADirectoryError:
            raise is_a_directory(name) from None
        except OSError as error:
            raise _explain(error, name) from error
        return name
    for candidate in _candidates(name, on_conflict):
        try:
            source.put(folder_fd, candidate)
        except FileExistsError:
            continue
        except OSError as error:
            raise _explain(error, candidate) from error
        return candidate
    raise already_exists(name)


def withdraw(folder_fd: int, name: str, on_conflict: OnConflict) -> None:
    """Remove a published file whose name could not be made durable. Blocks."""
    if on_conflict == "replace":
        return  # the file is complete, and the one that it replaced is gone
    try:
        os.unlink(name, dir_fd=folder_fd)
    except OSError as error:
        _log.warning("storage.leftover", path=name, reason=str(error))


def tell_watchers(folder_fd: int, name: str) -> None:
    """Open a file for writing and close it, for programs that watch the folder with inotify.

    Of a link they get only IN_CREATE, which does not tell that a file is complete; now they get
    IN_CLOSE_WRITE too.
    """
    try:
        fd = os.open(
            name, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder_fd
        )
        os.close(fd)
    except OSError:
        pass  # the file is published all the same; somebody may have moved it already


def already_exists(name: str) -> ConflictError:
    """The error for a name that exists and must not be replaced."""
    return ConflictError(f"a file named {name} exists already")


def is_a_directory(name: str) -> ConflictError:
    """The error for a name that is to be replaced and is that of a directory."""
    return ConflictError(f"{name} is a directory")


def refused_name(name: str) -> BadNameError:
    """The error for a name that the filesystem does not accept."""
    return BadNameError(f"the filesystem does not accept the name {name}")


def _explain(error: OSError, name: str) -> StorageError:
    if error.errno == errno.EXDEV:
        return OtherFilesystemError("cannot publish the file: its folder is on another filesystem")
    if error.errno in REFUSED_NAME:
        return refused_name(name)
    if error.errno == errno.ENOENT:
        return GoneError("cannot publish the file: its folder was removed")
    return as_storage_error(error, "cannot publish the file")


def _candidates(name: str, on_conflict: OnConflict) -> Iterator[str]:
    yield name
    if on_conflict == "rename":
        for number in range(1, MAX_NUMBER + 1):
            yield numbered(name, number)
