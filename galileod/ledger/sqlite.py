"""Who holds what: the files stored and the uploads that run, in SQLite, so that it survives us.

The disk is the truth. `reconcile` brings the ledger back to it at the start: files that somebody
removed, added or changed by hand, and uploads that a crash cut off.
"""

import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Final, TypeVar
from urllib.parse import quote

import trio
from attrs import frozen

from galileod.policy.quota import Holding

T = TypeVar("T")

BUSY_SECONDS: Final = 10.0
"""How long to wait for another process that writes to the ledger."""

CLOSING_SECONDS: Final = 2.0
"""How long to wait at the end for a step that nobody waits for any more."""

UNKNOWN_USER: Final = ""
"""Who holds a file that was not stored by an upload."""

_MIGRATIONS: Final = (
    # 1: triggers keep `holdings`, since adding up a million files for every upload is too slow.
    """
    CREATE TABLE files (name TEXT PRIMARY KEY, user TEXT NOT NULL, bytes INTEGER NOT NULL);
    CREATE TABLE uploads (
        upload TEXT PRIMARY KEY, user TEXT NOT NULL, bytes INTEGER NOT NULL
    );
    CREATE TABLE holdings (
        user TEXT PRIMARY KEY,
        bytes INTEGER NOT NULL, files INTEGER NOT NULL,
        reserved INTEGER NOT NULL, uploads INTEGER NOT NULL
    );
    CREATE TRIGGER file_added AFTER INSERT ON files BEGIN
        INSERT INTO holdings VALUES (new.user, new.bytes, 1, 0, 0) ON CONFLICT (user) DO
        UPDATE SET bytes = bytes + new.bytes, files = files + 1;
    END;
    CREATE TRIGGER file_removed AFTER DELETE ON files BEGIN
        UPDATE holdings SET bytes = bytes - old.bytes, files = files - 1 WHERE user = old.user;
    END;
    CREATE TRIGGER upload_added AFTER INSERT ON uploads BEGIN
        INSERT INTO holdings VALUES (new.user, 0, 0, new.bytes, 1) ON CONFLICT (user) DO
        UPDATE SET reserved = reserved + new.bytes, uploads = uploads + 1;
    END;
    CREATE TRIGGER upload_removed AFTER DELETE ON uploads BEGIN
        UPDATE holdings SET reserved = reserved - old.bytes, uploads = uploads - 1
        WHERE user = old.user;
    END;
    """,
    # 2: receipts for the hook. One stands with its upload, and the number of the spool file, from
    # just before the publication, so that a crash between that and the entry loses neither.
    """
    ALTER TABLE uploads ADD COLUMN inode INTEGER;
    ALTER TABLE uploads ADD COLUMN receipt TEXT;
    CREATE TABLE outbox (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL, receipt TEXT NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0, due REAL
    );
    CREATE INDEX outbox_by_due ON outbox (due) WHERE due IS NOT NULL;
    """,
    # 3: tickets that were used, until they expire by themselves (seconds of the epoch).
    """
    CREATE TABLE tickets (id TEXT PRIMARY KEY, until REAL NOT NULL) WITHOUT ROWID;
    CREATE INDEX tickets_by_until ON tickets (until);
    """,
)


class LedgerError(Exception):
    """The ledger cannot be read or written; the text says why."""


class AlreadyUsedError(Exception):
    """A ticket for a single upload was used before, or has expired by now."""


@frozen
class Once:
    """A ticket for a single upload: its id, and when it expires (seconds of the epoch)."""

    id: str
    until: float


class Ledger:
    """The ledger of one directory. The async methods run in a thread, one at a time."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._limiter = trio.CapacityLimiter(1)
        self._step = threading.Lock()

    @classmethod
    def open(cls, path: str) -> "Ledger":
        """Open or make the ledger, and bring its schema up to date. Raises LedgerError."""
        with _translated():
            connection = sqlite3.connect(
                path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
        ledger = cls(connection)
        try:
            with _translated():
                connection.execute("PRAGMA journal_mode = WAL")
                # After a power cut the last entries may be missing; reconcile puts them right.
                connection.execute("PRAGMA synchronous = NORMAL")
                # An entry that replaces another must fire the triggers of its removal, too.
                connection.execute("PRAGMA recursive_triggers = ON")
                ledger._migrate()
        except LedgerError:
            connection.close()
            raise
        return ledger

    @classmethod
    def open_to_look(cls, path: str) -> "Ledger":
        """Open a ledger that may be in use by another galileod, and change nothing in it.

        An older schema stays as it is. Raises LedgerError.
        """
        with _translated():
            # SQLite's own `mode=ro` would leave its files for shared memory behind.
            connection = sqlite3.connect(
                f"file:{quote(path)}?mode=rw", uri=True, timeout=BUSY_SECONDS, isolation_level=None
            )
        ledger = cls(connection)
        try:
            with _translated():
                connection.execute("PRAGMA query_only = ON")
                ledger._version()
        except LedgerError:
            connection.close()
            raise
        return ledger

    def close(self) -> None:
        """Close the file, behind a step that nobody waits for any more and that still runs."""
        # SQLite crashes if it is closed under one. On a disk that hangs the end of the process is
        # as good: the next start recovers.
        if self._step.acquire(timeout=CLOSING_SECONDS):
            self._connection.close()
            self._step.release()

    async def reserve(
        self,
        upload: str,
        user: str,
        size: int,
        allow: Callable[[Holding, Holding], None],
        once: Once | None = None,
    ) -> None:
        """Enter an upload of `size` bytes.

        `allow` is called with what all hold and what this user holds, while nobody else can
        change it; what it raises passes through, and nothing is entered then. The ticket `once` is
        used up by it: AlreadyUsedError if it was so before, or has expired.
        """
        await self.run(self._reserve, upload, user, size, allow, once)

    async def promise(self, upload: str, inode: int, receipt: str) -> None:
        """Note that `receipt` is owed to the hook as soon as the file `inode` is published.

        When this returns, it survives a power cut.
        """
        await self.run(self._promise, upload, inode, receipt)

    async def commit(self, upload: str, name: str) -> None:
        """The upload's file stands under `name` now, and what was promised is owed."""
        await self.run(self._commit, upload, name, trio.current_time())

    async def release(self, upload: str) -> None:
        """The upload ended otherwise. One that was committed is left alone."""
        await self.run(self._execute, "DELETE FROM uploads WHERE upload = ?", (upload,))

    async def total(self) -> Holding:
        """What all hold together. Raises LedgerError."""
        # Nothing is changed by it, so whoever asks may go away while the disk hangs.
        return await self.run(self._total, abandon_on_cancel=True)

    def reconcile(
        self,
        on_disk: Mapping[str, int],
        find: Callable[[Collection[int]], Mapping[int, str]] = lambda _: {},
    ) -> None:
        """Make the ledger say what is on disk, where no upload runs. Blocks; for the start.

        `on_disk` has the size of each finished file. One that is not in the ledger belongs to
        UNKNOWN_USER from then on: somebody put it there, or a crash came between its publication
        and its entry. `find` tells which of these inodes stand in the directory, by which names: a
        file that was promised to the hook is entered after all.
        """
        with self.transaction() as connection:
            self._enter_published(on_disk, find)
            connection.execute("DELETE FROM uploads")
            # Whoever mended the hook and starts again expects it to be tried.
            connection.execute("UPDATE outbox SET attempts = 0, due = 0")
            entered = {
                name: (user, size)
                for name, user, size in connection.execute("SELECT name, user, bytes FROM files")
            }
            gone = [(name,) for name in entered if name not in on_disk]
            connection.executemany("DELETE FROM files WHERE name = ?", gone)
            for name, size in on_disk.items():
                user, known = entered.get(name, (UNKNOWN_USER, None))
                if size != known:
                    connection.execute(_ENTER, (name, user, size))
            # The sums are made anew, whatever happened to them.
            connection.execute("DELETE FROM holdings")
            connection.execute(
                "INSERT INTO holdings SELECT user, sum(bytes), count(*), 0, 0 FROM files"
                " GROUP BY user"
            )

    def holdings(self) -> dict[str, Holding]:
        """What each user holds, by name. Blocks."""
        with _translated():
            rows = self._connection.execute(
                "SELECT user, bytes, files, reserved, uploads FROM holdings"
                " WHERE files > 0 OR uploads > 0 ORDER BY user"
            ).fetchall()
        return {user: Holding(*numbers) for user, *numbers in rows}

    def _reserve(
        self,
        upload: str,
        user: str,
        size: int,
        allow: Callable[[Holding, Holding], None],
        once: Once | None,
    ) -> None:
        with self.transaction() as connection:
            if once is not None:
                self._use_up(once)
            everybody = self._total()
            mine = connection.execute(_SUM_OF_USER, (user,)).fetchone()
            allow(everybody, Holding(*mine) if mine else Holding())
            connection.execute(
                "INSERT INTO uploads (upload, user, bytes) VALUES (?, ?, ?)", (upload, user, size)
            )

    def _use_up(self, once: Once) -> None:
        """Within a transaction."""
        now = time.time()
        # It was valid when it was looked at; what is no longer kept must not pass as new.
        if once.until <= now:
            raise AlreadyUsedError
        # Those that expired are refused for that; what is kept is bounded by an hour's tickets.
        self._connection.execute("DELETE FROM tickets WHERE until <= ?", (now,))
        used = self._connection.execute(
            "INSERT OR IGNORE INTO tickets VALUES (?, ?)", (once.id, once.until)
        )
        if not used.rowcount:
            raise AlreadyUsedError

    def _total(self) -> Holding:
        with _translated():
            return Holding(*self._connection.execute(_SUM).fetchone())

    def _promise(self, upload: str, inode: int, receipt: str) -> None:
        with _translated():
            # An fsync, which the entries that follow can do without: this one leads to them.
            self._connection.execute("PRAGMA synchronous = FULL")
        try:
            self._execute(
                "UPDATE uploads SET inode = ?, receipt = ? WHERE upload = ?",
                (inode, receipt, upload),
            )
        finally:
            with _translated():
                self._connection.execute("PRAGMA synchronous = NORMAL")

    def _commit(self, upload: str, name: str, due: float) -> None:
        with self.transaction():
            self._enter(upload, name, due)

    def _enter(self, upload: str, name: str, due: float) -> None:
        """Within a transaction: the reservation becomes a file, and its receipt is owed."""
        row = self._connection.execute(
            "SELECT user, bytes, receipt FROM uploads WHERE upload = ?", (upload,)
        ).fetchone()
        if row is None:
            raise LedgerError("the upload is not in the ledger")
        user, size, receipt = row
        self._connection.execute("DELETE FROM uploads WHERE upload = ?", (upload,))
        self._connection.execute(_ENTER, (name, user, size))
        if receipt is not None:
            self._connection.execute(_OWE, (name, receipt, due))

    def _enter_published(
        self,
        on_disk: Mapping[str, int],
        find: Callable[[Collection[int]], Mapping[int, str]],
    ) -> None:
        """Within a transaction: what a crash cut off between publication and entry."""
        promised = self._connection.execute(
            "SELECT upload, bytes, inode FROM uploads WHERE inode IS NOT NULL"
        ).fetchall()
        names = find({inode for _, _, inode in promised}) if promised else {}
        for upload, size, inode in promised:
            name = names.get(inode)
            if name is not None and on_disk.get(name) == size:
                self._enter(upload, name, 0)

    def _execute(self, statement: str, values: tuple[str | int, ...]) -> None:
        with self.transaction() as connection:
            connection.execute(statement, values)

    def _version(self) -> int:
        """Its schema. Raises LedgerError for one that we do not know."""
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if version > len(_MIGRATIONS):
            raise LedgerError(
                f"the ledger has schema {version}, from a newer galileod; this one knows up to"
                f" {len(_MIGRATIONS)}"
            )
        return int(version)

    def _migrate(self) -> None:
        for number in range(self._version(), len(_MIGRATIONS)):
            self._connection.executescript(
                f"BEGIN IMMEDIATE; {_MIGRATIONS[number]} PRAGMA user_version = {number + 1}; COMMIT"
            )

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All of it or nothing; for a step of `run`. Raises LedgerError."""
        with _translated():
            self._connection.execute("BEGIN IMMEDIATE")
        try:
            with _translated():
                yield self._connection
                self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:  # SQLite ends it by itself on some errors
                with _translated():
                    self._connection.execute("ROLLBACK")
            raise

    async def run(
        self, step: Callable[..., T], *args: object, abandon_on_cancel: bool = False
    ) -> T:
        """Run a step that blocks, in a thread, one at a time."""

        def locked() -> T:
            with self._step:
                return step(*args)

        return await trio.to_thread.run_sync(
            locked, limiter=self._limiter, abandon_on_cancel=abandon_on_cancel
        )


_SUM: Final = (
    "SELECT coalesce(sum(bytes), 0), coalesce(sum(files), 0),"
    " coalesce(sum(reserved), 0), coalesce(sum(uploads), 0) FROM holdings"
)
_SUM_OF_USER: Final = "SELECT bytes, files, reserved, uploads FROM holdings WHERE user = ?"
_ENTER: Final = "INSERT OR REPLACE INTO files VALUES (?, ?, ?)"
_OWE: Final = "INSERT INTO outbox (name, receipt, due) VALUES (?, ?, ?)"


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise LedgerError(f"the ledger cannot be used: {error}") from error
