"""An SQLite file: opening and closing it, transactions, and the thread in which they run."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Concatenate, Final, ParamSpec, Self, TypeVar
from urllib.parse import quote

import trio

from galileod.ledger.base import LedgerError

from .schema import migrate, read_version

P = ParamSpec("P")
T = TypeVar("T")

BUSY_SECONDS: Final = 10.0
"""Maximum seconds to wait for another process that writes to the ledger."""

CLOSING_SECONDS: Final = 2.0
"""Maximum seconds that `close` waits for a step whose caller was cancelled."""


class Database:
    """One connection to one file. `read` and `write` run a function, the step, in a thread.

    Only one step runs at a time.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self._limiter = trio.CapacityLimiter(1)
        self._step = threading.Lock()

    @classmethod
    def open(cls, path: str) -> Self:
        """Open or create the file, and bring its schema up to date. Blocks; raises LedgerError."""
        with translated():
            connection = sqlite3.connect(
                path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
        try:
            with translated():
                connection.execute("PRAGMA journal_mode = WAL")
                # A power failure may lose the last transactions; `reconcile` corrects that.
                connection.execute("PRAGMA synchronous = NORMAL")
                # INSERT OR REPLACE must fire the triggers for the row that it deletes.
                connection.execute("PRAGMA recursive_triggers = ON")
                migrate(connection)
        except LedgerError:
            connection.close()
            raise
        return cls(connection)

    @classmethod
    def open_read_only(cls, path: str) -> Self:
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
        return cls(connection)

    def close(self) -> None:
        """Close the file. A step that still runs after its caller was cancelled is waited for."""
        # SQLite crashes if it is closed during a step. If the disk hangs, the file is left open:
        # the process ends, and the next start recovers.
        if self._step.acquire(timeout=CLOSING_SECONDS):
            self.connection.close()
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
        """Run a step in a transaction: all of it takes effect, or nothing."""

        def run() -> T:
            with self.transaction() as connection:
                return step(connection, *args, **kwargs)

        return await self._run(run, abandon_on_cancel=False)

    async def write_durably(
        self,
        step: Callable[Concatenate[sqlite3.Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """`write`, with an fsync: its effect survives a power failure."""

        def run() -> T:
            with translated():
                self.connection.execute("PRAGMA synchronous = FULL")
            try:
                with self.transaction() as connection:
                    return step(connection, *args, **kwargs)
            finally:
                with translated():
                    self.connection.execute("PRAGMA synchronous = NORMAL")

        return await self._run(run, abandon_on_cancel=False)

    async def check(self) -> None:
        """Begin a transaction that writes, and end it. May be cancelled while the disk hangs."""

        def run() -> None:
            with self.transaction():
                pass

        await self._run(run, abandon_on_cancel=True)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A transaction for the block, rolled back if it raises. Blocks; raises LedgerError."""
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
                return step()

        return await trio.to_thread.run_sync(
            locked, limiter=self._limiter, abandon_on_cancel=abandon_on_cancel
        )


@contextmanager
def translated() -> Iterator[None]:
    """Turn an error of SQLite into a LedgerError."""
    try:
        yield
    except sqlite3.Error as error:
        raise LedgerError(f"the ledger cannot be used: {error}") from error
