"""The tables of the ledger, and how an older file is brought up to date."""

import sqlite3
from typing import Final

from galileod.ledger.base import LedgerError

SUM_OF_HOLDINGS: Final = (
    "SELECT coalesce(sum(bytes), 0) AS bytes, coalesce(sum(files), 0) AS files,"
    " coalesce(sum(reserved), 0) AS reserved, coalesce(sum(uploads), 0) AS uploads,"
    " coalesce(sum(kept), 0) AS kept, coalesce(sum(kept_uploads), 0) AS kept_uploads FROM holdings"
)

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
    # 4: uploads that may be resumed, and the keys of those that were stored. Times are in seconds
    # since the epoch.
    """
    -- Of an upload that may be resumed; NULL for others. The first seven are its Resumable.
    ALTER TABLE uploads ADD COLUMN key TEXT;
    ALTER TABLE uploads ADD COLUMN metadata TEXT;
    ALTER TABLE uploads ADD COLUMN name TEXT;
    ALTER TABLE uploads ADD COLUMN path TEXT;
    ALTER TABLE uploads ADD COLUMN on_conflict TEXT;
    ALTER TABLE uploads ADD COLUMN durability TEXT;
    ALTER TABLE uploads ADD COLUMN authenticated INTEGER;
    ALTER TABLE uploads ADD COLUMN began REAL;
    -- The bytes that survive a power failure. What stands in the file behind them is certain if the
    -- machine has not restarted since `boot`.
    ALTER TABLE uploads ADD COLUMN durable INTEGER;
    ALTER TABLE uploads ADD COLUMN boot TEXT;
    -- Both NULL while the upload runs. A kept one has `offset` bytes, and is kept until `until`.
    ALTER TABLE uploads ADD COLUMN offset INTEGER;
    ALTER TABLE uploads ADD COLUMN until REAL;
    -- The key of the upload for which a ticket was used, until that is stored.
    ALTER TABLE tickets ADD COLUMN key TEXT;
    CREATE INDEX tickets_by_key ON tickets (key) WHERE key IS NOT NULL;
    CREATE UNIQUE INDEX uploads_by_key ON uploads (key) WHERE key IS NOT NULL;
    CREATE INDEX kept_by_until ON uploads (until, upload) WHERE offset IS NOT NULL;
    CREATE INDEX kept_by_user ON uploads (user, authenticated, offset) WHERE offset IS NOT NULL;

    -- Uploads that were stored, numbered in that order; each is remembered until `until`.
    CREATE TABLE stored_uploads (
        number INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE,
        metadata TEXT NOT NULL, name TEXT NOT NULL, until REAL NOT NULL
    );
    CREATE INDEX stored_uploads_by_until ON stored_uploads (until);

    -- A running upload counts in `reserved` and `uploads`, a kept one in `kept` and `kept_uploads`.
    ALTER TABLE holdings ADD COLUMN kept INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE holdings ADD COLUMN kept_uploads INTEGER NOT NULL DEFAULT 0;
    DROP TRIGGER file_added;
    DROP TRIGGER upload_added;
    DROP TRIGGER upload_removed;
    CREATE TRIGGER file_added AFTER INSERT ON files BEGIN
        INSERT INTO holdings VALUES (new.user, new.bytes, 1, 0, 0, 0, 0) ON CONFLICT (user) DO
        UPDATE SET bytes = bytes + new.bytes, files = files + 1;
    END;
    CREATE TRIGGER upload_added AFTER INSERT ON uploads WHEN new.offset IS NULL BEGIN
        INSERT INTO holdings VALUES (new.user, 0, 0, new.bytes, 1, 0, 0) ON CONFLICT (user) DO
        UPDATE SET reserved = reserved + new.bytes, uploads = uploads + 1;
    END;
    CREATE TRIGGER upload_removed AFTER DELETE ON uploads WHEN old.offset IS NULL BEGIN
        UPDATE holdings SET reserved = reserved - old.bytes, uploads = uploads - 1
        WHERE user = old.user;
    END;
    CREATE TRIGGER upload_kept AFTER UPDATE OF offset ON uploads
    WHEN old.offset IS NULL AND new.offset IS NOT NULL BEGIN
        UPDATE holdings SET reserved = reserved - old.bytes, uploads = uploads - 1,
            kept = kept + new.offset, kept_uploads = kept_uploads + 1
        WHERE user = old.user;
    END;
    CREATE TRIGGER upload_resumed AFTER UPDATE OF offset ON uploads
    WHEN old.offset IS NOT NULL AND new.offset IS NULL BEGIN
        UPDATE holdings SET reserved = reserved + new.bytes, uploads = uploads + 1,
            kept = kept - old.offset, kept_uploads = kept_uploads - 1
        WHERE user = old.user;
    END;
    CREATE TRIGGER kept_removed AFTER DELETE ON uploads WHEN old.offset IS NOT NULL BEGIN
        UPDATE holdings SET kept = kept - old.offset, kept_uploads = kept_uploads - 1
        WHERE user = old.user;
    END;
    """,
    # 5: what all users hold, since summing up ten thousand users for each upload takes 2 ms.
    """
    CREATE TABLE totals (
        bytes INTEGER NOT NULL, files INTEGER NOT NULL,
        reserved INTEGER NOT NULL, uploads INTEGER NOT NULL,
        kept INTEGER NOT NULL, kept_uploads INTEGER NOT NULL
    );
    INSERT INTO totals
    SELECT coalesce(sum(bytes), 0), coalesce(sum(files), 0), coalesce(sum(reserved), 0),
        coalesce(sum(uploads), 0), coalesce(sum(kept), 0), coalesce(sum(kept_uploads), 0)
    FROM holdings;
    DROP TRIGGER file_added;
    DROP TRIGGER file_removed;
    DROP TRIGGER upload_added;
    DROP TRIGGER upload_removed;
    DROP TRIGGER upload_kept;
    DROP TRIGGER upload_resumed;
    DROP TRIGGER kept_removed;
    CREATE TRIGGER file_added AFTER INSERT ON files BEGIN
        INSERT INTO holdings VALUES (new.user, new.bytes, 1, 0, 0, 0, 0) ON CONFLICT (user) DO
        UPDATE SET bytes = bytes + new.bytes, files = files + 1;
        UPDATE totals SET bytes = bytes + new.bytes, files = files + 1;
    END;
    CREATE TRIGGER file_removed AFTER DELETE ON files BEGIN
        UPDATE holdings SET bytes = bytes - old.bytes, files = files - 1 WHERE user = old.user;
        UPDATE totals SET bytes = bytes - old.bytes, files = files - 1;
    END;
    CREATE TRIGGER upload_added AFTER INSERT ON uploads WHEN new.offset IS NULL BEGIN
        INSERT INTO holdings VALUES (new.user, 0, 0, new.bytes, 1, 0, 0) ON CONFLICT (user) DO
        UPDATE SET reserved = reserved + new.bytes, uploads = uploads + 1;
        UPDATE totals SET reserved = reserved + new.bytes, uploads = uploads + 1;
    END;
    CREATE TRIGGER upload_removed AFTER DELETE ON uploads WHEN old.offset IS NULL BEGIN
        UPDATE holdings SET reserved = reserved - old.bytes, uploads = uploads - 1
        WHERE user = old.user;
        UPDATE totals SET reserved = reserved - old.bytes, uploads = uploads - 1;
    END;
    CREATE TRIGGER upload_kept AFTER UPDATE OF offset ON uploads
    WHEN old.offset IS NULL AND new.offset IS NOT NULL BEGIN
        UPDATE holdings SET reserved = reserved - old.bytes, uploads = uploads - 1,
            kept = kept + new.offset, kept_uploads = kept_uploads + 1
        WHERE user = old.user;
        UPDATE totals SET reserved = reserved - old.bytes, uploads = uploads - 1,
            kept = kept + new.offset, kept_uploads = kept_uploads + 1;
    END;
    CREATE TRIGGER upload_resumed AFTER UPDATE OF offset ON uploads
    WHEN old.offset IS NOT NULL AND new.offset IS NULL BEGIN
        UPDATE holdings SET reserved = reserved + new.bytes, uploads = uploads + 1,
            kept = kept - old.offset, kept_uploads = kept_uploads - 1
        WHERE user = old.user;
        UPDATE totals SET reserved = reserved + new.bytes, uploads = uploads + 1,
            kept = kept - old.offset, kept_uploads = kept_uploads - 1;
    END;
    CREATE TRIGGER kept_removed AFTER DELETE ON uploads WHEN old.offset IS NOT NULL BEGIN
        UPDATE holdings SET kept = kept - old.offset, kept_uploads = kept_uploads - 1
        WHERE user = old.user;
        UPDATE totals SET kept = kept - old.offset, kept_uploads = kept_uploads - 1;
    END;
    """,
    # 6: what is known of each file, and of an upload before its file is published: see FileEntry
    # and About.
    """
    -- 0 in `stored`: the file was entered before this schema. The next start looks at its time.
    ALTER TABLE files ADD COLUMN stored REAL DEFAULT 0;
    ALTER TABLE files ADD COLUMN sha1 TEXT;
    ALTER TABLE files ADD COLUMN sent TEXT;
    ALTER TABLE files ADD COLUMN folder TEXT;
    -- Empty if it is not known: the rows of one user are read in the order of this column.
    ALTER TABLE files ADD COLUMN place TEXT NOT NULL DEFAULT '';
    ALTER TABLE files ADD COLUMN modified INTEGER;
    ALTER TABLE files ADD COLUMN upload TEXT;
    ALTER TABLE files ADD COLUMN expires REAL;
    ALTER TABLE files ADD COLUMN ticket TEXT;
    ALTER TABLE files ADD COLUMN meta TEXT;
    CREATE INDEX files_by_user ON files (user, place);
    CREATE INDEX files_by_time ON files (expires IS NOT NULL, stored);
    CREATE INDEX files_by_expiry ON files (expires) WHERE expires IS NOT NULL;
    CREATE TRIGGER file_resized AFTER UPDATE OF bytes ON files BEGIN
        UPDATE holdings SET bytes = bytes - old.bytes + new.bytes WHERE user = new.user;
        UPDATE totals SET bytes = bytes - old.bytes + new.bytes;
    END;

    ALTER TABLE uploads ADD COLUMN sha1 TEXT;
    ALTER TABLE uploads ADD COLUMN sent TEXT;
    ALTER TABLE uploads ADD COLUMN folder TEXT;
    ALTER TABLE uploads ADD COLUMN place TEXT;
    ALTER TABLE uploads ADD COLUMN modified INTEGER;
    ALTER TABLE uploads ADD COLUMN retention REAL;
    ALTER TABLE uploads ADD COLUMN ticket TEXT;
    ALTER TABLE uploads ADD COLUMN meta TEXT;

    ALTER TABLE outbox ADD COLUMN kind TEXT NOT NULL DEFAULT 'stored';
    DROP INDEX outbox_by_due;
    CREATE INDEX outbox_by_kind ON outbox (kind, due);

    -- Folders that were made for files, and go with the last of them.
    CREATE TABLE folders (path TEXT PRIMARY KEY) WITHOUT ROWID;
    """,
    # 7: uploads to object storage: see ObjectUpload.
    """
    CREATE TABLE objects (
        upload TEXT PRIMARY KEY, size INTEGER NOT NULL, part_size INTEGER NOT NULL,
        -- What was claimed; `replaces`: other uploads that replace may claim it as well.
        name TEXT, replaces INTEGER NOT NULL DEFAULT 0,
        multipart TEXT, completing INTEGER NOT NULL DEFAULT 0,
        abandoned INTEGER NOT NULL DEFAULT 0,
        tail_key TEXT, tail_offset INTEGER, tail_length INTEGER, tail_state BLOB
    ) WITHOUT ROWID;
    CREATE INDEX objects_by_name ON objects (name) WHERE name IS NOT NULL;
    CREATE TABLE parts (
        upload TEXT NOT NULL, number INTEGER NOT NULL,
        length INTEGER NOT NULL, etag TEXT NOT NULL, state BLOB NOT NULL,
        PRIMARY KEY (upload, number)
    ) WITHOUT ROWID;
    CREATE TRIGGER object_removed AFTER DELETE ON objects BEGIN
        DELETE FROM parts WHERE upload = old.upload;
    END;
    -- Where the files are: Ledger.home. At most one row. Older versions had local files alone.
    CREATE TABLE home (text TEXT PRIMARY KEY);
    INSERT INTO home SELECT '' WHERE EXISTS (SELECT 1 FROM files)
        OR EXISTS (SELECT 1 FROM uploads);
    """,
    # 8: uploads to object storage that are in doubt: see Objects.doubt and Objects.abandon.
    """
    -- Their claims had ended, and a file may have their names. The sweeper removes the rest.
    DELETE FROM objects WHERE abandoned;
    ALTER TABLE objects ADD COLUMN due REAL;
    ALTER TABLE objects ADD COLUMN yields INTEGER NOT NULL DEFAULT 0;
    """,
)

_KEPT: Final = 4
"""The first version with interrupted uploads."""

_TOTALS: Final = 5
"""The first version with the table `totals`."""

_RECORDS: Final = 6
"""The first version that knows more of a file than its user and size."""


def migrate(connection: sqlite3.Connection) -> None:
    """Apply the missing migrations. Raises LedgerError if the file is of a newer version."""
    for number in range(read_version(connection), len(MIGRATIONS)):
        connection.executescript(
            f"BEGIN IMMEDIATE; {MIGRATIONS[number]} PRAGMA user_version = {number + 1}; COMMIT"
        )


def adapt_to_read(connection: sqlite3.Connection) -> None:
    """Make a file of an older version readable, without a change to it. Raises LedgerError."""
    # Of what is read, columns and a table are missing. A view is found before the table.
    version = read_version(connection)
    if 0 < version < _KEPT:
        connection.execute(
            "CREATE TEMP VIEW holdings AS SELECT *, 0 AS kept, 0 AS kept_uploads FROM main.holdings"
        )
    if 0 < version < _TOTALS:
        connection.execute(f"CREATE TEMP VIEW totals AS {SUM_OF_HOLDINGS}")
    if 0 < version < _RECORDS:
        connection.execute(
            "CREATE TEMP VIEW files AS SELECT rowid AS rowid, *, 0 AS stored, '' AS place,"
            " NULL AS sha1, NULL AS sent, NULL AS folder, NULL AS modified, NULL AS upload,"
            " NULL AS expires, NULL AS ticket, NULL AS meta FROM main.files"
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
