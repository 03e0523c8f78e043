"""Changing the file of tokens: one writer at a time, and never half a file."""

import fcntl
import grp
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from galileod.secretfile import SecretFileError, read_secret_file

from .tokens import Token, Tokens, read_tokens, write_tokens

MODE: Final = 0o640
GROUP: Final = "galileod"
"""Who may read a new file beside its owner, where there is such a group: the service's user."""

LOCK_SECONDS: Final = 10.0
"""How long to wait for others that change the file: each takes a second or two at the most."""

LOCK_AGAIN: Final = 0.05
"""Seconds between two tries."""


def load_tokens(path: str) -> Tokens:
    """The tokens of the file; none where there is no file. Raises SecretFileError."""
    try:
        return read_tokens(read_secret_file(path), path) if os.path.exists(path) else {}
    except OSError as error:
        raise SecretFileError(f"{path}: cannot be read: {error.strerror}") from None


def change_tokens(path: str, change: Callable[[Tokens], list[Token]]) -> None:
    """Put what `change` makes of the tokens in their place, on disk when this returns.

    Raises SecretFileError; what `change` raises passes through, and leaves the file as it was.
    """
    real = os.path.realpath(path)  # a link to it stays one
    try:
        with _one_writer(os.path.dirname(real)) as folder:
            _replace(real, folder, write_tokens(change(load_tokens(path))))
    except OSError as error:
        raise SecretFileError(f"{path}: cannot be written: {error.strerror}") from None


@contextmanager
def _one_writer(folder: str) -> Iterator[int]:
    """Hold the folder's lock, since the file itself is another one after each change."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _lock(fd, folder)
        yield fd
    finally:
        os.close(fd)


def _lock(fd: int, folder: str) -> None:
    # Whoever can read the folder can lock it, and hold on: a revocation must not wait for ever.
    end = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                raise SecretFileError(
                    f"{folder}: another process has held its lock for {LOCK_SECONDS:g} seconds"
                    " (fuser tells which)"
                ) from None
            time.sleep(LOCK_AGAIN)
        else:
            return


def _replace(path: str, folder: int, data: bytes) -> None:
    fd, new = tempfile.mkstemp(prefix=".tokens-", dir=os.path.dirname(path))
    try:
        with open(fd, "wb") as file:
            _keep_owner(path, file.fileno())
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, path)
    except BaseException:
        os.unlink(new)
        raise
    os.fsync(folder)


def _keep_owner(path: str, fd: int) -> None:
    """Owner, group and mode of the file that is there; of a new one, such that the daemon can."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        os.fchmod(fd, MODE)
        if os.geteuid() == 0:
            try:
                os.fchown(fd, -1, grp.getgrnam(GROUP).gr_gid)
            except KeyError:
                pass  # no service is installed here: root's own group may read it
        return
    if os.geteuid() == 0:
        os.fchown(fd, status.st_uid, status.st_gid)
    os.fchmod(fd, status.st_mode & 0o777)
