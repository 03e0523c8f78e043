"""Reads files with secrets or hashes of secrets, if their mode denies access to other users."""

import os
import stat
from typing import Final

MAX_BYTES: Final = 16 * 1024 * 1024
"""Maximum size of a file."""

_FORBIDDEN: Final = 0o027
"""Permissions that a private file must not grant: write to its group, and any to other users."""


class SecretFileError(Exception):
    """A file cannot be used; the message has its path and the reason."""


def read_secret_file(path: str, *, private: bool = True) -> bytes:
    """The content of `path`.

    Raises SecretFileError if it cannot be read, is not a regular file, or exceeds MAX_BYTES; with
    `private` also if its group may write to it, or other users have any access.
    """
    try:
        # O_NONBLOCK: opening a FIFO must not wait for a writer.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise SecretFileError(f"{path}: is not a regular file")
            mode = stat.S_IMODE(status.st_mode)
            if private and mode & _FORBIDDEN:
                raise SecretFileError(
                    f"{path}: has mode {mode:04o}, so other users may read or change it: expected"
                    " 0640 or less (chmod 640)"
                )
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise SecretFileError(f"{path}: cannot be read: {error.strerror}") from None
    if len(data) > MAX_BYTES:
        raise SecretFileError(f"{path}: is too large: expected at most {MAX_BYTES} bytes")
    return data
