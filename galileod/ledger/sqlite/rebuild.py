"""Replaces a damaged ledger by a new one with all of its rows that can be read."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Final

import structlog
from structlog.typing import FilteringBoundLogger

from galileod.ledger.base import Step

from . import filenames
from .connection import BUSY_SECONDS, open_connection, reporting
from .errors import translated

MAX_ROWS: Final = 10_000_000
"""Maximum rows read from each table in each direction: the pages of a damaged one may form a
circle."""

_TABLES: Final = (
    (
        "files",
        (
            "SELECT CAST(name AS TEXT), CAST(user AS TEXT), CAST(bytes AS INTEGER) FROM files"
            " ORDER BY rowid {} LIMIT ?"
        ),
        "INSERT OR IGNORE INTO files (name, user, bytes) VALUES (?, ?, ?)",
    ),
    (
        # Before `uploads`, which adds the others. A damaged ledger of schema 3 has none.
        "resumable",
        (
            "SELECT CAST(upload AS TEXT), CAST(user AS TEXT), CAST(bytes AS INTEGER), inode,"
            " CAST(receipt AS TEXT), CAST(key AS TEXT), CAST(metadata AS TEXT),"
            " CAST(name AS TEXT), CAST(path AS TEXT), on_conflict, durability,"
            " CAST(authenticated AS INTEGER), CAST(began AS REAL), CAST(durable AS INTEGER),"
            " CAST(boot AS TEXT), CAST(offset AS INTEGER), CAST(until AS REAL) FROM uploads"
            " WHERE key IS NOT NULL AND on_conflict IN ('rename', 'reject', 'replace')"
            " AND durability IN ('full', 'none') ORDER BY rowid {} LIMIT ?"
        ),
        (
            "INSERT OR IGNORE INTO uploads (upload, user, bytes, inode, receipt, key, metadata,"
            " name, path, on_conflict, durability, authenticated, began, durable, boot, offset,"
            " until) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        ),
    ),
    (
        "uploads",
        (
            "SELECT CAST(upload AS TEXT), CAST(user AS TEXT), CAST(bytes AS INTEGER), inode,"
            " CAST(receipt AS TEXT) FROM uploads WHERE inode IS NOT NULL"
            " ORDER BY rowid {} LIMIT ?"
        ),
        (
            "INSERT OR IGNORE INTO uploads (upload, user, bytes, inode, receipt)"
            " VALUES (?, ?, ?, ?, ?)"
        ),
    ),
    (
        "receipts",
        (
            "SELECT number, CAST(name AS TEXT), CAST(receipt AS TEXT), 0, 0 FROM outbox"
            " ORDER BY number {} LIMIT ?"
        ),
        (
            "INSERT OR IGNORE INTO outbox (number, name, receipt, attempts, due)"
            " VALUES (?, ?, ?, ?, ?)"
        ),
    ),
    (
        "tickets",
        "SELECT CAST(id AS TEXT), CAST(until AS REAL) FROM tickets ORDER BY id {} LIMIT ?",
        "INSERT OR IGNORE INTO tickets (id, until) VALUES (?, ?)",
    ),
    (
        "stored_uploads",
        (
            "SELECT number, CAST(key AS TEXT), CAST(metadata AS TEXT), CAST(name AS TEXT),"
            " CAST(until AS REAL) FROM stored_uploads ORDER BY number {} LIMIT ?"
        ),
        (
            "INSERT OR IGNORE INTO stored_uploads (number, key, metadata, name, until)"
            " VALUES (?, ?, ?, ?, ?)"
        ),
    ),
)
"""What is kept: the name for the log, how it is read in each direction, and how it is added. Sums
are left out, since `reconcile` computes them."""

_log: FilteringBoundLogger = structlog.get_logger()


def rebuild(path: str, reason: str, step: Step) -> None:
    """Set the ledger at `path` aside, and put a new one into its place. Blocks.

    A process that is killed meanwhile leaves the damaged ledger or the new one. Raises LedgerError.
    """
    copy = filenames.copy_path(path)
    with translated():
        filenames.remove(copy)
        with closing(open_connection(copy)) as new, reporting(new, step):
            kept = _copy_readable(path, new)
            # The file alone must be complete, without a log beside it.
            new.execute("PRAGMA journal_mode = TRUNCATE")
        aside = filenames.set_aside(path, time.time())
        filenames.adopt_copy(path)
    _log.warning(
        "ledger.damaged",
        path=path,
        reason=reason,
        moved_to=aside,
        kept=kept,
        advice="the readable entries were copied into a new ledger. Without the others, files count"
        " for no user, receipts are not delivered, used tickets are valid until they expire, and"
        " interrupted uploads begin anew. To use a backup instead, stop galileod, copy the backup"
        " to the path, and start galileod",
    )


def _copy_readable(path: str, new: sqlite3.Connection) -> dict[str, int]:
    """The number of rows that were copied into each table."""
    kept: dict[str, int] = {}
    with closing(sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)) as damaged:
        damaged.text_factory = lambda data: data.decode(errors="replace")
        new.execute("BEGIN")
        for table, select, insert in _TABLES:
            kept[table] = 0
            for direction in ("ASC", "DESC"):  # up to the damage, and from the end back to it
                for row in _readable(damaged, select.format(direction)):
                    kept[table] += new.execute(insert, row).rowcount
        new.execute("COMMIT")
    return kept


def _readable(damaged: sqlite3.Connection, select: str) -> Iterator[tuple[object, ...]]:
    """The rows up to the first that cannot be read."""
    try:
        # Reads a file in WAL mode without shared memory, which the filesystem may lack.
        damaged.execute("PRAGMA locking_mode = EXCLUSIVE")
        yield from damaged.execute(select, (MAX_ROWS,))
    except sqlite3.Error:
        return  # the damage
