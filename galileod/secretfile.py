"""Files with secrets or hashes of secrets: read only if their mode keeps other users out."""

import os
import stat
from typing import Final

MAX_BYTES: Final = 16 * 1024 * 1024
"""The largest file that is read."""

_FORBIDDEN: Final = 0o027
"""The permissions that a private file must not grant: write to the group, any to others."""


class SecretFileError(Exception):
    """A file cannot be used; the text names it, and says why."""


def read_secret_file(path: str, *, private: bool = True) -> bytes:
    """The content of `path`.

    Raises SecretFileError if it cannot be read or is not a regular file; with `private` also if
    others than its owner and group may read it, or others than its owner may write to it.
    """
    try:
        # Opening a FIFO, to find that it is not a regular file, must not wait for a writer.
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
