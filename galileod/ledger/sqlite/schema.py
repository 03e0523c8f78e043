"""The tables of the ledger, and how an older file is brought up to date."""

import sqlite3
from typing import Final

from galileod.ledger.base import LedgerError

MIGRATIONS: Final = (
    # 1: triggers update `holdings`, since summing up a million files for each upload is too slow.
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
    # 2: receipts for the hook. Just before the publication, the receipt and the file's identity are
    # stored with the upload. After a crash between publication and commit, both are still here.
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
    # 3: tickets that were used, until their expiry (seconds since the epoch).
    """
    CREATE TABLE tickets (id TEXT PRIMARY KEY, until REAL NOT NULL) WITHOUT ROWID;
    CREATE INDEX tickets_by_until ON tickets (until);
    """,
)


def migrate(connection: sqlite3.Connection) -> None:
    """Apply the missing migrations. Raises LedgerError if the file is of a newer version."""
    for number in range(read_version(connection), len(MIGRATIONS)):
        connection.executescript(
            f"BEGIN IMMEDIATE; {MIGRATIONS[number]} PRAGMA user_version = {number + 1}; COMMIT"
        )


def read_version(connection: sqlite3.Connection) -> int:
    """The schema version: the number of migrations applied. Raises LedgerError if it is newer."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(MIGRATIONS):
        raise LedgerError(
            f"the ledger has schema {version}, from a newer galileod; this version supports"
            f" schema {len(MIGRATIONS)} at most"
        )
    return int(version)
