"""Opens an SQLite file: checks it, chooses how it is locked, and brings its schema up to date."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Final
from urllib.parse import quote

from galileod.ledger.base import LedgerError, Step, ignore_step

from .copying import copy_in_use
from .errors import DamagedError, translated
from .schema import adapt_to_read, migrate
from .shared_memory import fails_at_once, supports_shared_memory

BUSY_SECONDS: Final = 10.0
"""Maximum seconds to wait for another process that writes to the ledger."""

INSTRUCTIONS: Final = 10_000
"""Instructions of SQLite's virtual machine between two calls of a Step: less than a millisecond."""


def open_connection(path: str, step: Step = ignore_step) -> sqlite3.Connection:
    """Open or create the file for its one writer. Blocks.

    Raises DamagedError if its content is not valid, and LedgerError.
    """
    connection = _connect(path)
    try:
        with translated():
            directory = os.path.dirname(path) or "."
            if not supports_shared_memory(directory):
                # From its first access on, SQLite locks the file, and keeps in heap memory what
                # would be in shared memory.
                connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            connection.execute("PRAGMA journal_mode = WAL")
            # A power failure may lose the last transactions; `reconcile` corrects that. But if a
            # transaction was lost in a failed write, SQLite must learn of it before the next one.
            synchronous = "NORMAL" if fails_at_once(directory) else "FULL"
            connection.execute(f"PRAGMA synchronous = {synchronous}")
            # INSERT OR REPLACE must fire the triggers for the row that it deletes.
            connection.execute("PRAGMA recursive_triggers = ON")
        with reporting(connection, step), translated():
            check_content(connection)
            migrate(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def open_read_only(path: str) -> sqlite3.Connection:
    """Open a file that a daemon may have open, and change nothing in it, not even its schema.

    On a filesystem without shared memory, where the daemon locks the file, a copy is opened, which
    is removed with the connection. Blocks; raises LedgerError.
    """
    with translated():
        if supports_shared_memory(os.path.dirname(path) or "."):
            # With `mode=ro` SQLite would leave its shared-memory file behind.
            return _open_to_read(path, "NORMAL")
        with TemporaryDirectory(prefix="galileod-") as folder:
            copy = os.path.join(folder, "ledger")
            copy_in_use(path, copy)
            return _open_to_read(copy, "EXCLUSIVE")  # needs no names after its first access


def check_content(connection: sqlite3.Connection) -> None:
    """Raise DamagedError if the content is not valid. Takes 0.2 s for 300,000 files."""
    (result,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if result != "ok":
        raise DamagedError(result.replace("\n", " "))


def is_exclusive(connection: sqlite3.Connection) -> bool:
    """Whether no other process can read the file; False for a database without a file."""
    (journal,) = connection.execute("PRAGMA journal_mode").fetchone()
    (locking,) = connection.execute("PRAGMA locking_mode").fetchone()
    return (journal, locking) == ("wal", "exclusive")


@contextmanager
def apart(connection: sqlite3.Connection) -> Iterator[None]:
    """A part of a transaction that is undone alone if it raises, unless SQLite ends all of it.

    Raises LedgerError for errors of SQLite.
    """
    connection.execute("SAVEPOINT step")
    try:
        with translated():
            yield
    except BaseException:
        if connection.in_transaction:  # SQLite ends it by itself on some errors
            connection.execute("ROLLBACK TO step")
            connection.execute("RELEASE step")
        raise
    connection.execute("RELEASE step")


@contextmanager
def reporting(connection: sqlite3.Connection, step: Step) -> Iterator[None]:
    """Call `step` while statements of the block run. What it raises ends the block."""
    raised: list[BaseException] = []

    def handle() -> int:
        if not raised:
            try:
                step()
            except BaseException as error:  # noqa: BLE001  SQLite would discard it
                raised.append(error)
                return 1  # ends the statement
        return 0

    connection.set_progress_handler(handle, INSTRUCTIONS)
    try:
        yield
    except (sqlite3.Error, LedgerError):
        if raised:
            raise raised[0] from None
        raise
    finally:
        connection.set_progress_handler(None, 0)


def _connect(path: str) -> sqlite3.Connection:
    with translated():
        return sqlite3.connect(
            path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )


def _open_to_read(path: str, locking_mode: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"file:{quote(path)}?mode=rw", uri=True, timeout=BUSY_SECONDS, isolation_level=None
    )
    try:
        connection.execute(f"PRAGMA locking_mode = {locking_mode}")
        adapt_to_read(connection)
        connection.execute("PRAGMA query_only = ON")
    except BaseException:
        connection.close()
        raise
    return connection
