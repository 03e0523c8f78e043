"""Changing the tokens file: one writer at a time, and atomically."""

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
"""The group of a new file, if it exists: the service runs in it."""

LOCK_SECONDS: Final = 10.0
"""Time limit for getting the lock; a change takes a second or two."""

RETRY_SECONDS: Final = 0.05
"""Time between two attempts to get the lock."""


def load_tokens(path: str) -> Tokens:
    """The tokens of the file; none if there is no file. Raises SecretFileError."""
    try:
        return read_tokens(read_secret_file(path), path) if os.path.exists(path) else {}
    except OSError as error:
        raise SecretFileError(f"{path}: cannot be read: {error.strerror}") from None


def change_tokens(path: str, change: Callable[[Tokens], list[Token]]) -> None:
    """Replace the tokens by what `change` returns for them; durable when this returns.

    Raises SecretFileError. An exception of `change` is passed on, and the file stays as it was.
    """
    real = os.path.realpath(path)  # a symbolic link is kept, and its target replaced
    try:
        with _one_writer(os.path.dirname(real)) as folder:
            _replace(real, folder, write_tokens(change(load_tokens(path))))
    except OSError as error:
        raise SecretFileError(f"{path}: cannot be written: {error.strerror}") from None


@contextmanager
def _one_writer(folder: str) -> Iterator[int]:
    """Hold a lock on the directory: the file itself is replaced by each change."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _lock(fd, folder)
        yield fd
    finally:
        os.close(fd)


def _lock(fd: int, folder: str) -> None:
    # Any process that can read the directory can hold the lock: do not wait for ever.
    end = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                raise SecretFileError(
                    f"{folder}: another process has held its lock for {LOCK_SECONDS:g} seconds"
                    " (fuser shows which)"
                ) from None
            time.sleep(RETRY_SECONDS)
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
    """Keep owner, group and mode of an existing file; make a new one readable for the service."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        os.fchmod(fd, MODE)
        if os.geteuid() == 0:
            try:
                os.fchown(fd, -1, grp.getgrnam(GROUP).gr_gid)
            except KeyError:
                pass  # no service is installed: root's group stays
        return
    if os.geteuid() == 0:
        os.fchown(fd, status.st_uid, status.st_gid)
    os.fchmod(fd, status.st_mode & 0o777)
