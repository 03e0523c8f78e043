"""An SQLite file in use: transactions, the thread in which they run, and what if the file is lost.

While the daemon runs, somebody may remove the file, for example with a program that deletes old
files. SQLite would go on with the removed file, and everything in it would be lost with the
process. So each step looks first whether the file is still there, and else writes it again.
"""

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Concatenate, Final, ParamSpec, Self, TypeVar

import structlog
import trio
from structlog.typing import FilteringBoundLogger

from galileod.ledger.base import LedgerError, Step, ignore_step
from galileod.ledger.grouping import Grouping

from .connection import apart, is_exclusive, open_connection, open_read_only
from .errors import translated
from .filenames import Identity, adopt_copy, copy_path, identify, remove

P = ParamSpec("P")
T = TypeVar("T")

CLOSING_SECONDS: Final = 2.0
"""Maximum seconds that `close` waits for a step whose caller was cancelled."""

FULL: Final = 2
"""SQLite's number of the level at which each transaction ends with an fsync."""

_log: FilteringBoundLogger = structlog.get_logger()


class Database:
    """One connection to one file. `read` and `write` run a function, the step, in a thread.

    Only one step runs at a time; those that write and wait at the same time share a transaction.
    A step that has not begun can be cancelled. The file at `path` is written again if it is lost;
    None if the connection is only for reading.
    """

    def __init__(self, connection: sqlite3.Connection, path: str | None) -> None:
        self._path = path
        self._files: dict[str, Identity] = {}
        self._copied = False  # a complete copy is to be used; the connection is closed
        self._limiter = trio.CapacityLimiter(1)
        self._step = threading.Lock()
        self._grouping = Grouping(
            self.transaction,
            apart,
            lambda connection: connection.in_transaction,
            lambda run: self._run(run, abandon_on_cancel=False),
        )
        self._use(connection)

    @classmethod
    def open(cls, path: str, step: Step = ignore_step) -> Self:
        """Open or create the file, and bring its schema up to date. Blocks.

        Raises DamagedError if its content is not valid, and LedgerError.
        """
        database = cls(open_connection(path, step), path)
        if database.exclusive:
            reason = "shared memory (mmap) is not supported, or not safe, on this filesystem"
            _log.info("ledger.journal", path=path, mode="exclusive", reason=reason)
        return database

    @classmethod
    def open_read_only(cls, path: str) -> Self:
        """Open a file to read it: see `connection.open_read_only`. Blocks; raises LedgerError."""
        return cls(open_read_only(path), None)

    def close(self) -> None:
        """Close the file. A step that still runs after its caller was cancelled is waited for."""
        # SQLite crashes if it is closed during a step. If the disk hangs, the file is left open:
        # the process ends, and the next start recovers.
        if self._step.acquire(timeout=CLOSING_SECONDS):
            try:
                self._ensure_file()
            except LedgerError as error:
                _log.warning("ledger.behind", reason=str(error))
            finally:
                self.connection.close()
                self._files = {}
                self._step.release()

    async def read(
        self,
        step: Callable[Concatenate[sqlite3.Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run a step that changes nothing. May be cancelled while the disk hangs."""

        def run() -> T:
            with translated():
                return step(self.connection, *args, **kwargs)

        return await self._run(run, abandon_on_cancel=True)

    async def write(
        self,
        step: Callable[Concatenate[sqlite3.Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run a step in a transaction: all of it takes effect, or nothing. See `Grouping.run`."""
        return await self._grouping.run(
            lambda connection: step(connection, *args, **kwargs), durable=False
        )

    async def write_durably(
        self,
        step: Callable[Concatenate[sqlite3.Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """`write`, with an fsync: its effect survives a power failure."""
        return await self._grouping.run(
            lambda connection: step(connection, *args, **kwargs), durable=True
        )

    async def check(self) -> None:
        """Begin a transaction that writes, and end it. May be cancelled while the disk hangs."""

        def run() -> None:
            with self.transaction():
                pass

        await self._run(run, abandon_on_cancel=True)

    @contextmanager
    def transaction(self, *, durable: bool = False) -> Iterator[sqlite3.Connection]:
        """A transaction for the block, rolled back if it raises; with an fsync if `durable`.

        Blocks; raises LedgerError.
        """
        if not durable or self._synchronous == FULL:
            with self._transaction() as connection:
                yield connection
            return
        with translated():
            self.connection.execute("PRAGMA synchronous = FULL")
        try:
            with self._transaction() as connection:
                yield connection
        finally:
            with translated():
                self.connection.execute(f"PRAGMA synchronous = {self._synchronous}")

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with translated():
            self.connection.execute("BEGIN IMMEDIATE")
        try:
            with translated():
                yield self.connection
                self.connection.execute("COMMIT")
        except BaseException:
            if self.connection.in_transaction:  # SQLite ends it by itself on some errors
                with translated():
                    self.connection.execute("ROLLBACK")
            raise

    async def _run(self, step: Callable[[], T], *, abandon_on_cancel: bool) -> T:
        def locked() -> T:
            with self._step:
                self._ensure_file()
                return step()

        return await trio.to_thread.run_sync(
            locked, limiter=self._limiter, abandon_on_cancel=abandon_on_cancel
        )

    def _use(self, connection: sqlite3.Connection) -> None:
        """Remember which files the connection has open; none if it is in memory.

        Closes it if that fails.
        """
        self.connection = connection
        try:
            with translated():
                (self._synchronous,) = connection.execute("PRAGMA synchronous").fetchone()
                self.exclusive = is_exclusive(connection)
                if self._path is not None:
                    # A process that used shared memory may have left a -shm, which is not in use.
                    shared = () if self.exclusive else ("-shm",)
                    self._files = identify(self._path, ("", "-wal", *shared))
        except BaseException:
            connection.close()
            raise

    def _ensure_file(self) -> None:
        """Write the file again if it was removed. Raises LedgerError if it was replaced."""
        if self._path is None or not self._files:
            return
        if self._copied:  # an earlier attempt has failed after that
            with translated():
                self._use_copy(self._path)
            return
        with translated():
            found = identify(self._path, tuple(self._files))
        if found == self._files:
            return
        ours = self._files[""]
        if found.get("", ours) != ours:
            self.connection.close()
            # SQLite would apply the log of the earlier file to the new one.
            for suffix, _ in found.items() & self._files.items():
                with translated():
                    os.unlink(self._path + suffix)
            raise LedgerError(
                "the ledger was replaced by another file while galileod runs; restart galileod to"
                " use that file"
            )
        with translated():
            self._write_again(self._path, ours)
        _log.warning(
            "ledger.restored",
            path=self._path,
            reason="the file, or its log, was removed while galileod runs",
            advice="exclude .galileod from programs that delete old files",
        )

    def _write_again(self, path: str, ours: Identity) -> None:
        """Write the whole content to a copy, and put that into place of the file.

        A process that is killed meanwhile leaves the file or a complete copy.
        """
        directory = os.path.dirname(path)
        device, _ = ours
        if os.stat(directory).st_dev != device:
            raise LedgerError(
                f"the ledger is gone, and {directory} is on another filesystem than it was; restart"
                " galileod when the filesystem is mounted"
            )
        with closing(sqlite3.connect(copy_path(path))) as copy:
            self.connection.backup(copy)
        # Closed before the copy is in place: closing removes the log by its name.
        self._copied = True
        self.connection.close()
        self._use_copy(path)

    def _use_copy(self, path: str) -> None:
        """Put the copy into place, unless it is there, and open it. May be repeated."""
        if os.path.exists(copy_path(path)):
            remove(path)
            adopt_copy(path)
        self._use(open_connection(path))
        self._copied = False
