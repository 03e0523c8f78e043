"""Changes the tokens file: atomically, and under a lock."""

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
"""The group of a new file, if this group exists: the service runs in it."""

LOCK_SECONDS: Final = 10.0
"""Time limit in seconds for getting the lock; a change takes one or two seconds."""

RETRY_SECONDS: Final = 0.05
"""Seconds between two attempts to get the lock."""


def load_tokens(path: str) -> Tokens:
    """The tokens in the file; none if it does not exist. Raises SecretFileError."""
    try:
        return read_tokens(read_secret_file(path), path) if os.path.exists(path) else {}
    except OSError as error:
        raise SecretFileError(f"{path}: cannot be read: {error.strerror}") from None


def change_tokens(path: str, change: Callable[[Tokens], list[Token]]) -> None:
    """Replace the tokens in the file with those that `change` returns; durable after the return.

    Raises SecretFileError. An exception of `change` is passed on, and the file is not changed.
    """
    real = os.path.realpath(path)  # a symbolic link is kept, and its target replaced
    try:
        with _one_writer(os.path.dirname(real)) as folder:
            _replace(real, folder, write_tokens(change(load_tokens(path))))
    except OSError as error:
        raise SecretFileError(f"{path}: cannot be written: {error.strerror}") from None


@contextmanager
def _one_writer(folder: str) -> Iterator[int]:
    """Lock the directory, since each change replaces the file; yields its descriptor."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _lock(fd, folder)
        yield fd
    finally:
        os.close(fd)


def _lock(fd: int, folder: str) -> None:
    # With a time limit, since any process that can read the directory can hold the lock.
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
    """Copy owner, group and mode of an existing file; make a new one readable for the service."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        os.fchmod(fd, MODE)
        if os.geteuid() == 0:
            try:
                os.fchown(fd, -1, grp.getgrnam(GROUP).gr_gid)
            except KeyError:
                pass  # the service is not installed: the group stays that of root
        return
    if os.geteuid() == 0:
        os.fchown(fd, status.st_uid, status.st_gid)
    os.fchmod(fd, status.st_mode & 0o777)
