"""Files that hold secrets, or hashes of them: read whole, and only if nobody else may."""

import os
import stat
from typing import Final

MAX_BYTES: Final = 16 * 1024 * 1024
"""The largest file that is read."""

_OTHERS: Final = 0o027
"""What the group may not do, and what others may not."""


class SecretFileError(Exception):
    """A file cannot be used; the text names it, and says why."""


def read_secret_file(path: str, *, private: bool = True) -> bytes:
    """The content of `path`.

    Raises SecretFileError where it cannot be read; with `private` also where others than its owner
    and group may read it, or others than its owner may write to it.
    """
    try:
        # A FIFO is no file of ours either; opening one must not wait for its other side.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise SecretFileError(f"{path}: is no ordinary file")
            mode = stat.S_IMODE(status.st_mode)
            if private and mode & _OTHERS:
                raise SecretFileError(
                    f"{path}: has mode {mode:04o}, so others may read or change it: expected 0640"
                    " or less (chmod 640)"
                )
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise SecretFileError(f"{path}: cannot be read: {error.strerror}") from None
    if len(data) > MAX_BYTES:
        raise SecretFileError(f"{path}: has more than {MAX_BYTES} bytes")
    return data
