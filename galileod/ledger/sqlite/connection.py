"""Opens an SQLite file: checks it, chooses its journal, and brings its schema up to date."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from urllib.parse import quote

from galileod.ledger.base import LedgerError, Step, ignore_step

from .errors import DamagedError, translated
from .schema import migrate, read_version
from .shared_memory import supports_shared_memory

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
            if supports_shared_memory(os.path.dirname(path) or "."):
                connection.execute("PRAGMA journal_mode = WAL")
            else:
                _use_rollback_journal(connection)
            # A power failure may lose the last transactions; `reconcile` corrects that.
            connection.execute("PRAGMA synchronous = NORMAL")
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

    Blocks; raises LedgerError.
    """
    with translated():
        # With `mode=ro` SQLite would leave its shared-memory file behind.
        connection = sqlite3.connect(
            f"file:{quote(path)}?mode=rw", uri=True, timeout=BUSY_SECONDS, isolation_level=None
        )
    try:
        with translated():
            connection.execute("PRAGMA query_only = ON")
            read_version(connection)
    except LedgerError:
        connection.close()
        raise
    return connection


def check_content(connection: sqlite3.Connection) -> None:
    """Raise DamagedError if the content is not valid. Takes 0.2 s for 300,000 files."""
    (result,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if result != "ok":
        raise DamagedError(result.replace("\n", " "))


def journal_mode(connection: sqlite3.Connection) -> str:
    """The journal in use: "wal", "truncate", or "memory" for a database without a file."""
    (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
    return str(mode)


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


def _use_rollback_journal(connection: sqlite3.Connection) -> None:
    # A file in WAL mode can be read without shared memory only under an exclusive lock. Changing
    # the mode then copies the content of its log into the file.
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    # Unlike DELETE, with TRUNCATE the end of a transaction can be synced without an fsync of the
    # directory, which FUSE filesystems often lack.
    connection.execute("PRAGMA journal_mode = TRUNCATE")
    connection.execute("PRAGMA locking_mode = NORMAL")
    connection.execute("SELECT 1 FROM sqlite_master").fetchone()  # gives up the exclusive lock
