"""Errors of SQLite, as errors of the ledger that say what to do."""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from galileod.ledger.base import LedgerError

_ADVICE: Final[Mapping[int, str]] = {
    sqlite3.SQLITE_ERROR: "it has other tables than a ledger; restore a backup, or move it away",
    sqlite3.SQLITE_BUSY: "another process has locked it; end that process",
    sqlite3.SQLITE_IOERR: "the filesystem reported an error; check the disk, and its free space",
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_CANTOPEN: "check that galileod may write to the file and to its directory",
    sqlite3.SQLITE_READONLY: "check that galileod may write to the file and to its directory",
    sqlite3.SQLITE_PERM: "check that galileod may write to the file and to its directory",
    sqlite3.SQLITE_IOERR_LOCK: "the filesystem does not support file locks (fcntl), which it needs",
    sqlite3.SQLITE_IOERR_RDLOCK: "the filesystem does not support file locks (fcntl)",
}
"""What to do about an error, by its extended or primary result code."""


class DamagedError(LedgerError):
    """The content of the ledger is not valid. A start sets it aside and makes a new one."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"the ledger is damaged: {reason}; a restart of galileod sets it aside and makes a new"
            " one from the files"
        )
        self.damage = reason


@contextmanager
def translated() -> Iterator[None]:
    """Turn an error of SQLite into a LedgerError."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise as_ledger_error(error) from error


def as_ledger_error(error: sqlite3.Error | OSError) -> LedgerError:
    """The error that says the same, and what to do."""
    if isinstance(error, OSError):
        return LedgerError(f"the ledger cannot be used: {error}")
    if is_damage(error):
        return DamagedError(str(error))
    code = result_code(error)
    advice = _ADVICE.get(code) or _ADVICE.get(code & 0xFF)
    return LedgerError(f"the ledger cannot be used: {error}{'; ' if advice else ''}{advice or ''}")


def is_damage(error: sqlite3.Error) -> bool:
    """Whether SQLite found the content of the file not valid."""
    return result_code(error) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def result_code(error: sqlite3.Error) -> int:
    """The extended result code of SQLite; 0 if the error is from Python's module."""
    return getattr(error, "sqlite_errorcode", 0)
