"""The files of a ledger on disk: SQLite's own beside it, a copy that replaces it, damaged ones."""

import os
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from typing import Final

from .errors import is_damage

JOURNALS: Final = ("-wal", "-shm", "-journal")
"""What SQLite adds to the name of a file for the files that belong to it."""

KEPT_DAMAGED: Final = 3
"""Maximum number of damaged ledgers that are kept; older ones are removed."""

_DAMAGED: Final = ".damaged-"

Identity = tuple[int, int]
"""Device and inode of a file."""


def copy_path(path: str) -> str:
    """Where the copy is made that is to replace the ledger."""
    return f"{path}.new"


def adopt_copy(path: str) -> None:
    """If there is no ledger, but a complete copy, use that: a crash left it. Remove any other copy.

    Blocks; raises OSError and sqlite3.Error.
    """
    copy = copy_path(path)
    if os.path.exists(copy) and not os.path.exists(path) and _is_complete(copy):
        remove(path)  # a log of the earlier file would be applied to the copy
        os.rename(copy, path)
        _sync_directory(path)
    remove(copy)


def remove(path: str) -> None:
    """Remove a ledger and what SQLite keeps beside it, as far as they exist. Raises OSError."""
    for suffix in (*JOURNALS, ""):
        try:
            os.unlink(path + suffix)
        except FileNotFoundError:
            pass  # most of them do not exist


def set_aside(path: str, now: float) -> str:
    """Rename a damaged ledger and its log; returns its new path. Raises OSError."""
    aside = f"{path}{_DAMAGED}{datetime.fromtimestamp(now, UTC):%Y%m%dT%H%M%SZ}"
    for suffix in ("", *JOURNALS):
        try:
            os.rename(path + suffix, aside + suffix)
        except FileNotFoundError:
            pass  # most of them do not exist
    directory, name = os.path.split(path)
    damaged = [
        entry
        for entry in os.listdir(directory)
        if entry.startswith(name + _DAMAGED) and not entry.endswith(JOURNALS)
    ]
    for old in sorted(damaged)[:-KEPT_DAMAGED]:
        remove(os.path.join(directory, old))
    return aside


def identify(path: str, suffixes: tuple[str, ...]) -> dict[str, Identity]:
    """Device and inode of the files that exist, by the suffix of their names. Raises OSError."""
    found = {}
    for suffix in suffixes:
        try:
            state = os.stat(path + suffix)
        except FileNotFoundError:
            continue
        found[suffix] = (state.st_dev, state.st_ino)
    return found


def _is_complete(copy: str) -> bool:
    with closing(sqlite3.connect(copy)) as connection:
        try:
            # Reads a file in WAL mode without shared memory, which the filesystem may lack.
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            # Undoes the transaction of a copy that was interrupted, which leaves an empty file.
            (version,) = connection.execute("PRAGMA user_version").fetchone()
        except sqlite3.DatabaseError as error:
            if is_damage(error):
                return False
            raise
    return bool(version)


def _sync_directory(path: str) -> None:
    fd = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError:
        pass  # FUSE filesystems often lack it; a power failure may then bring the earlier file back
    finally:
        os.close(fd)
