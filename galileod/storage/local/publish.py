"""Publication of a spool file: gives it its final name in its folder."""

import os
from collections.abc import Iterator
from typing import Final

import structlog
from structlog.typing import FilteringBoundLogger

from galileod.policy.names import numbered
from galileod.storage.base import ConflictError, translated
from galileod.storage.settings import OnConflict

MAX_NUMBER: Final = 9999
"""The highest number that is added to a name that exists."""

_log: FilteringBoundLogger = structlog.get_logger()


def publish(spool_fd: int, spooled: str, folder_fd: int, name: str, on_conflict: OnConflict) -> str:
    """Publish the spool file `spooled` in the folder as `name`; returns its final name.

    Blocks. Raises ConflictError and StorageError.
    """
    with translated("cannot publish the file"):
        if on_conflict == "replace":
            try:
                os.rename(spooled, name, src_dir_fd=spool_fd, dst_dir_fd=folder_fd)
            except IsADirectoryError:
                raise ConflictError(f"{name} is a directory") from None
            return name
        for candidate in _candidates(name, on_conflict):
            try:
                # A link, since unlike a rename it never replaces a file.
                os.link(
                    spooled,
                    candidate,
                    src_dir_fd=spool_fd,
                    dst_dir_fd=folder_fd,
                    follow_symlinks=False,
                )
            except FileExistsError:
                continue
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


def already_exists(name: str) -> ConflictError:
    """The error for a name that exists and must not be replaced."""
    return ConflictError(f"a file named {name} exists already")


def _candidates(name: str, on_conflict: OnConflict) -> Iterator[str]:
    yield name
    if on_conflict == "rename":
        for number in range(1, MAX_NUMBER + 1):
            yield numbered(name, number)
