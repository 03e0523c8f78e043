"""The identity of a directory that several nodes share: a random text in its state directory.

A node whose network filesystem is not mounted finds another one, and not the files of its ledger.
"""

import os
import re
import secrets
from typing import Final

from galileod.storage.errors import StorageError

from .renaming import UNSUPPORTED, rename_noreplace

FILE: Final = "identity"

_CONTENT: Final = re.compile(rb"[0-9a-f]{32}\n")
_MOST: Final = 64
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def open_identity(parent_fd: int, known: str | None) -> int:
    """Open the file; it is made if it is missing, with the `known` identity or a new one. Blocks.

    Raises OSError, and StorageError if it has another identity than the known one.
    """
    try:
        fd = os.open(FILE, _READ, dir_fd=parent_fd)
    except FileNotFoundError:
        _make(parent_fd, known or secrets.token_hex(16))
        fd = os.open(FILE, _READ, dir_fd=parent_fd)  # perhaps that of another node
    try:
        found = identity_in(fd)
    except BaseException:
        os.close(fd)
        raise
    if known in {None, found}:
        return fd
    os.close(fd)
    raise StorageError("storage.directory has become another one")


def identity_in(fd: int) -> str:
    """The identity in the open file. Blocks; raises OSError and StorageError."""
    content = os.pread(fd, _MOST, 0)
    if not _CONTENT.fullmatch(content):
        raise StorageError(
            f"the file {FILE} in the state directory is damaged; restore or remove it"
        )
    return content.decode().strip()


def _make(parent_fd: int, identity: str) -> None:
    """Make the file, unless another node does so at the same time."""
    name = f"{FILE}-{secrets.token_hex(8)}"
    fd = os.open(name, _WRITE, 0o600, dir_fd=parent_fd)
    try:
        try:
            os.write(fd, f"{identity}\n".encode())
            os.fsync(fd)
        finally:
            os.close(fd)
        _publish(parent_fd, name)
    except FileExistsError:
        pass  # its own is taken
    finally:
        try:
            os.unlink(name, dir_fd=parent_fd)
        except FileNotFoundError:
            pass  # it was renamed
    os.fsync(parent_fd)


def _publish(parent_fd: int, name: str) -> None:
    fds = {"src_dir_fd": parent_fd, "dst_dir_fd": parent_fd}
    try:
        rename_noreplace(name, FILE, **fds)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        os.link(name, FILE, **fds, follow_symlinks=False)
