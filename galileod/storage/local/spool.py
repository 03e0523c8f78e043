"""The spool: the directory of files that are not published yet."""

import errno
import os
import stat
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import structlog
from structlog.typing import FilteringBoundLogger

from galileod.storage.errors import StorageError
from galileod.storage.oserrors import translated

from .groupsync import GroupSync
from .inheritance import FILE_MODE, PRIVATE_MODE
from .listing import entries_of
from .renaming import UNSUPPORTED, rename_noreplace
from .timing import Observe, ignore

_NEW_FILE: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

_OLD_FILE: Final = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

_MIXED_CASE: Final = "Probe-\u00c5\u00df"
"""In Unicode form NFC, with an upper-case letter that has another form in NFD."""

_MIXED_CASE_ASCII: Final = "Probe-A"

_DIFFICULT: Final = "\U0001f600\u0391\u4e2d\u00e9 ~^#%&'`@!$+=;,[]{}(1)".ljust(200, "\u00e9")[:133]
"""A name of 247 bytes with characters of one to four bytes: as long as any that is used
(policy.names.MAX_BYTES, and the number that a conflict adds)."""

UNNAMED: Final = os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC
NO_UNNAMED: Final = {errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL}
"""Errors of a filesystem that has no unnamed files."""

_REFUSED: Final = {errno.EINVAL, errno.EILSEQ, errno.ENAMETOOLONG, errno.EBADMSG}

_log: FilteringBoundLogger = structlog.get_logger()


def marked(name: str) -> str:
    """The name of a file that is being published, where links are not counted."""
    return f"{name}-published"


class Spool:
    """The spool directory, open as `fd`. All methods block. `observe` is as for Folders.

    `examine` finds out what its filesystem can do: whether it `renames` without replacing a file
    (else files are linked), whether a file tells how many links it has (`counts_links`), whether a
    published file has the same inode number as before (`inode_kept`), whether it `maps_names` (one
    file has several names, which differ in case or in Unicode form), whether it accepts `any_name`
    that a client may choose, and whether it has `unnamed_files`.
    """

    def __init__(self, fd: int, observe: Observe = ignore) -> None:
        self.fd = fd
        self._group = GroupSync(fd, observe)
        self.renames = True
        self.counts_links = True
        self.inode_kept = True
        self.maps_names = False
        self.any_name = True
        self.unnamed_files = True

    def create(self, name: str, mode: int = PRIVATE_MODE) -> int:
        """Create a file; returns its descriptor. Raises StorageError."""
        with translated("cannot create a spool file"):
            return os.open(name, _NEW_FILE, mode, dir_fd=self.fd)

    def open(self, name: str) -> int:
        """Open a file again; returns its descriptor. Raises OSError."""
        return os.open(name, _OLD_FILE, dir_fd=self.fd)

    def stat(self, fd: int) -> os.stat_result:
        """The state of an open file, with its present number of links. Raises OSError."""
        state = os.fstat(fd)
        if self.renames:
            return state
        # FUSE and network filesystems, where files are linked, remember the number for a while. A
        # change of the file, though to what it is already, makes them ask again.
        os.fchmod(fd, stat.S_IMODE(state.st_mode))
        return os.fstat(fd)

    def sync(self) -> None:
        """Make the names of the files durable. Raises OSError."""
        self._group.sync()

    def check(self, name: str) -> None:
        """Raise StorageError if a file is not in the spool."""
        with translated("cannot stat the spool file"):
            try:
                os.stat(name, dir_fd=self.fd, follow_symlinks=False)
            except FileNotFoundError:
                reason = "another program has removed the file from the spool in .galileod"
                raise StorageError(reason) from None

    def remove(self, name: str) -> None:
        """Remove a file, if it is still here."""
        try:
            os.unlink(name, dir_fd=self.fd)
        except FileNotFoundError:
            pass  # it was renamed when it was published
        except OSError as error:
            # The upload is stored or has failed; the next start removes the spool file.
            _log.warning("storage.leftover", path=name, reason=str(error))

    @contextmanager
    def linked(self, name: str) -> Iterator[str]:
        """The name by which a file is to be linked in the block, which publishes it.

        Where links are not counted, a published file could not be told from others after a crash.
        There it gets a name that is no upload's, and none after the block. Raises OSError.
        """
        if self.counts_links:
            yield name
            return
        other = marked(name)
        os.rename(name, other, src_dir_fd=self.fd, dst_dir_fd=self.fd)
        try:
            yield other
        except BaseException:
            os.rename(other, name, src_dir_fd=self.fd, dst_dir_fd=self.fd)
            raise
        self.remove(other)

    def examine(self) -> None:
        """Find out what the filesystem can do. Raises StorageError if it cannot publish files."""
        self.probe()
        with translated("cannot create files in the spool"):
            self.maps_names = self._maps_names()
            self.any_name = self.accepts(_DIFFICULT)
            self.unnamed_files = self._has_unnamed_files()

    def probe(self) -> None:
        """Create a file and publish it here, as an upload does. Raises StorageError on failure."""
        name = f"probe-{os.urandom(8).hex()}"
        published = marked(name)
        with translated("cannot create and publish files in the spool"):
            fd = self.create(name)
            try:
                try:
                    os.fchmod(fd, FILE_MODE)
                    inode = os.fstat(fd).st_ino
                finally:
                    os.close(fd)
                self._publish(name, published)
            except BaseException:
                os.unlink(name, dir_fd=self.fd)
                raise
            self.inode_kept = os.stat(published, dir_fd=self.fd).st_ino == inode
            os.unlink(published, dir_fd=self.fd)

    def accepts(self, name: str) -> bool:
        """Whether the filesystem accepts a file of this name. Raises OSError."""
        try:
            os.close(os.open(name, _NEW_FILE, 0o600, dir_fd=self.fd))
        except FileExistsError:
            return True  # another upload tries the same name at this moment
        except OSError as error:
            if error.errno in _REFUSED:
                return False
            raise
        self.remove(name)
        return True

    def _publish(self, name: str, published: str) -> None:
        """Rename the file; if the filesystem cannot do that, link it and remove its first name."""
        fds = {"src_dir_fd": self.fd, "dst_dir_fd": self.fd}
        if self.renames:
            try:
                rename_noreplace(name, published, **fds)
            except OSError as error:
                if error.errno not in UNSUPPORTED:
                    raise
                self.renames = False
            else:
                return
        try:
            os.link(name, published, **fds, follow_symlinks=False)
        except OSError as error:
            if error.errno in {errno.EPERM, *UNSUPPORTED}:
                raise StorageError(
                    "the filesystem can neither rename a file without replacing another "
                    "(RENAME_NOREPLACE) nor link it"
                ) from error
            raise
        links = os.stat(published, dir_fd=self.fd, follow_symlinks=False).st_nlink
        self.counts_links = links > 1
        os.unlink(name, dir_fd=self.fd)

    def _maps_names(self) -> bool:
        name = _MIXED_CASE if self.accepts(_MIXED_CASE) else _MIXED_CASE_ASCII
        try:
            os.close(os.open(name, _NEW_FILE, 0o600, dir_fd=self.fd))
        except FileExistsError:
            pass  # a start that was killed has left it
        try:
            with entries_of(self.fd) as entries:
                listed = any(entry.name == name for entry in entries)
            others = {name.lower(), unicodedata.normalize("NFD", name)} - {name}
            return not listed or any(map(self._exists, others))
        finally:
            os.unlink(name, dir_fd=self.fd)

    def _has_unnamed_files(self) -> bool:
        try:
            os.close(os.open(".", UNNAMED, 0o600, dir_fd=self.fd))
        except OSError as error:
            if error.errno in NO_UNNAMED:
                return False
            raise
        return True

    def _exists(self, name: str) -> bool:
        try:
            os.stat(name, dir_fd=self.fd, follow_symlinks=False)
        except OSError:
            return False  # the usual case: the filesystem has no such name
        return True
