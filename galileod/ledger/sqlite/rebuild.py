"""Replaces a damaged ledger by a new one with all of its rows that can be read."""

import sqlite3
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing
from typing import Final

import structlog
from attrs import frozen
from structlog.typing import FilteringBoundLogger

from galileod.ledger.base import Step

from . import filenames
from .connection import BUSY_SECONDS, open_connection, reporting
from .errors import translated

MAX_ROWS: Final = 10_000_000
"""Maximum rows read from each table in each direction: the pages of a damaged one may form a
circle."""


@frozen
class _Table:
    """What is kept of a table: `log` is its name for the log.

    `columns` has an expression for each column. Those that a damaged ledger of an older version
    does not have are left out. Rows are read in the direction of `order`, and in the other one.
    """

    log: str
    name: str
    columns: Mapping[str, str]
    where: str = "TRUE"
    order: str = "rowid"

    def select(self, columns: Collection[str], direction: str) -> str:
        """The statement that reads rows, at most as many as its parameter says."""
        read = ", ".join(self.columns[column] for column in columns)
        where, order = self.where, self.order
        # All parts are constant.
        return (
            f"SELECT {read} FROM {self.name} WHERE {where}"  # noqa: S608
            f" ORDER BY {order} {direction} LIMIT ?"
        )

    def insert(self, columns: Collection[str]) -> str:
        """The statement that adds a row, unless it is there."""
        values = ", ".join("?" * len(columns))
        into = f"{self.name} ({', '.join(columns)})"
        return f"INSERT OR IGNORE INTO {into} VALUES ({values})"  # noqa: S608  constant


def _cast(**columns: str) -> dict[str, str]:
    """The columns with these types."""
    types = {"text": "TEXT", "whole": "INTEGER", "real": "REAL"}
    return {
        column: f"CAST({column} AS {kind})"
        for name, kind in types.items()
        for column in columns.get(name, "").split()
    }


_ABOUT: Final = _cast(text="sha1 sent folder place ticket meta", whole="modified", real="retention")
_UPLOAD: Final = {"inode": "inode", **_cast(text="upload user receipt", whole="bytes"), **_ABOUT}
_RESUMABLE: Final = {
    "on_conflict": "on_conflict",
    "durability": "durability",
    **_cast(
        text="key metadata name path boot",
        whole="authenticated durable offset",
        real="began until",
    ),
}

_TABLES: Final = (
    _Table(
        "files",
        "files",
        {
            **_cast(
                text="name user sha1 sent folder upload ticket meta",
                whole="bytes modified",
                real="stored expires",
            ),
            "place": "coalesce(CAST(place AS TEXT), '')",
        },
    ),
    _Table(
        # Before `uploads`, which adds the others. A damaged ledger of schema 3 has none.
        "resumable",
        "uploads",
        {**_UPLOAD, **_RESUMABLE},
        "key IS NOT NULL AND on_conflict IN ('rename', 'reject', 'replace')"
        " AND durability IN ('full', 'none')",
    ),
    _Table("uploads", "uploads", _UPLOAD, "inode IS NOT NULL"),
    _Table(
        "receipts",
        "outbox",
        {
            "number": "number",
            **_cast(text="name receipt"),
            "attempts": "0",
            "due": "0",
            "kind": "CASE WHEN kind IN ('removed', 'removing') THEN kind ELSE 'stored' END",
        },
        order="number",
    ),
    _Table("tickets", "tickets", _cast(text="id", real="until"), order="id"),
    _Table(
        "stored_uploads",
        "stored_uploads",
        {"number": "number", **_cast(text="key metadata name", real="until")},
        order="number",
    ),
    _Table("folders", "folders", _cast(text="path"), order="path"),
    _Table(
        "objects",
        "objects",
        {
            **_cast(
                text="upload name multipart tail_key",
                whole="size part_size replaces completing abandoned yields tail_offset tail_length",
            ),
            # Not `due`: the object of one in doubt may be a confirmed file, whose entry was lost.
            "tail_state": "tail_state",
        },
        order="upload",
    ),
    _Table(
        "parts",
        "parts",
        {**_cast(text="upload etag", whole="number length"), "state": "state"},
        order="upload",
    ),
    _Table("home", "home", _cast(text="text"), order="text"),
)
"""What is kept. Sums are left out, since `reconcile` computes them."""

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
        " interrupted uploads begin anew. Files in object storage are entered again by"
        " `galileod files rescan`. To use a backup instead, stop galileod, copy the backup"
        " to the path, and start galileod",
    )


def _copy_readable(path: str, new: sqlite3.Connection) -> dict[str, int]:
    """The number of rows that were copied into each table."""
    kept: dict[str, int] = {}
    with closing(sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)) as damaged:
        damaged.text_factory = lambda data: data.decode(errors="replace")
        new.execute("BEGIN")
        for table in _TABLES:
            kept[table.log] = 0
            columns = _columns(damaged, table)
            for direction in ("ASC", "DESC"):  # up to the damage, and from the end back to it
                for row in _readable(damaged, table.select(columns, direction)):
                    kept[table.log] += new.execute(table.insert(columns), row).rowcount
        new.execute("COMMIT")
    return kept


def _columns(damaged: sqlite3.Connection, table: _Table) -> list[str]:
    """Those of the table's columns that the damaged ledger has; all if that cannot be read."""
    try:
        # Reads a file in WAL mode without shared memory, which the filesystem may lack.
        damaged.execute("PRAGMA locking_mode = EXCLUSIVE")
        names = {name for _, name, *_ in damaged.execute(f"PRAGMA table_info({table.name})")}
    except sqlite3.Error:
        return list(table.columns)  # then no row can be read either
    return [column for column in table.columns if column in names or not names]


def _readable(damaged: sqlite3.Connection, select: str) -> Iterator[tuple[object, ...]]:
    """The rows up to the first that cannot be read."""
    try:
        yield from damaged.execute(select, (MAX_ROWS,))
    except sqlite3.Error:
        return  # the damage
