"""Copies a ledger that another process has open and locked, so that it can be read."""

import os
import shutil
from typing import Final

from galileod.ledger.base import LedgerError

ATTEMPTS: Final = 10
"""Maximum number of copies that are made until one is consistent."""

_HEADER_BYTES: Final = 32
"""Length of the header of SQLite's log. Two random numbers in it change when the log restarts."""


def copy_in_use(path: str, target: str) -> None:
    """Copy a ledger, its log and its journal, which may change meanwhile. Blocks.

    The copy is as the process would leave the files if it was killed. Raises LedgerError if the
    files change too often, and OSError.
    """
    for _ in range(ATTEMPTS):
        before = _log_header(path)
        # The log is the last: it has all pages that SQLite has copied from it into the file,
        # unless it has restarted.
        shutil.copyfile(path, target)
        for suffix in ("-journal", "-wal"):
            _copy_if_exists(path + suffix, target + suffix)
        if _log_header(path) == before:
            return
    raise LedgerError("the ledger changes too often to be copied; try again later")


def _copy_if_exists(source: str, target: str) -> None:
    try:
        shutil.copyfile(source, target)
    except FileNotFoundError:
        if os.path.exists(target):  # from an earlier attempt
            os.unlink(target)


def _log_header(path: str) -> bytes:
    try:
        with open(f"{path}-wal", "rb") as log:
            return log.read(_HEADER_BYTES)
    except FileNotFoundError:
        return b""
