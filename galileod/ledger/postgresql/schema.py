"""The tables of the ledger, and how those of an older version are brought up to date.

They are those of SQLite: `sqlite.schema` describes them. `user` and `offset` are words of SQL, and
stand in quotes.
"""

import time
from collections.abc import Sequence
from typing import Any, Final

from attrs import frozen

from galileod.ledger.base import LedgerError, Step
from galileod.ledger.unavailable import UnavailableError

from . import nodes
from .connection import VERSION_TABLE, Connection, Line, reporting
from .errors import LEASE_LOST
from .sums import FILE_SUMS, SUMS, UPLOAD_SUMS, counting

WAIT_SECONDS: Final = 600.0
"""Maximum seconds to wait for another galileod that changes the tables."""

POLL_SECONDS: Final = 0.2
"""Seconds between two looks whether it has ended."""

_LOCK: Final = 0x67616C69
"""The number of PostgreSQL's advisory lock for changes of the tables: "gali"."""

ASKED: Final = "galileod_asked"
RELEASED: Final = "galileod_released"
"""Channels of NOTIFY: a message of the first is the name of a node which is asked for an upload; of
the second, the key of an upload for which a node has asked, and that does not run any more."""

_EXISTS: Final = (
    # A lookup by name alone, as `to_regclass`, may find what was there earlier in the transaction.
    f"SELECT EXISTS (SELECT FROM pg_class WHERE {VERSION_TABLE})"  # noqa: S608  constant
)

_VERSION: Final = (
    # Before schema 5, there is no `compatible_from`: only the same schema was accepted.
    "SELECT version, coalesce((to_jsonb(galileod_schema) ->> 'compatible_from')::INTEGER, version)"
    " FROM galileod_schema"
)

_EXCLUDE: Final = "SELECT FROM totals FOR UPDATE; LOCK TABLE nodes IN ACCESS EXCLUSIVE MODE"
"""The locks with which transactions of nodes begin, in their order: a migration waits for those
that run, and those that begin wait for it."""

_NUMBERS: Final = ", ".join(f"{one} BIGINT NOT NULL" for one in SUMS)


@frozen
class Migration:
    """A change of the tables.

    Nodes of a galileod with the schema `oldest` or a newer one go on working with the tables after
    it: with their statements, also prepared ones, and with what the functions and triggers do.
    """

    oldest: int
    statements: str


MIGRATIONS: Final = (
    # 1: what SQLite has in its schema 8.
    Migration(
        1,
        f"""
    CREATE TABLE files (
        -- Rows in the order in which they were entered.
        number BIGINT GENERATED ALWAYS AS IDENTITY,
        name TEXT COLLATE "C" PRIMARY KEY,
        "user" TEXT COLLATE "C" NOT NULL, bytes BIGINT NOT NULL,
        stored DOUBLE PRECISION, sha1 TEXT COLLATE "C", sent TEXT COLLATE "C",
        folder TEXT COLLATE "C", place TEXT COLLATE "C" NOT NULL DEFAULT '', modified BIGINT,
        upload TEXT COLLATE "C", expires DOUBLE PRECISION, ticket TEXT COLLATE "C",
        meta TEXT COLLATE "C"
    );
    CREATE INDEX files_by_user ON files ("user", place, number);
    CREATE INDEX files_by_time ON files (stored, number) WHERE expires IS NULL;
    CREATE INDEX files_by_own_time ON files (stored, number) WHERE expires IS NOT NULL;
    CREATE INDEX files_by_expiry ON files (expires, number) WHERE expires IS NOT NULL;

    CREATE TABLE uploads (
        upload TEXT COLLATE "C" PRIMARY KEY, "user" TEXT COLLATE "C" NOT NULL,
        bytes BIGINT NOT NULL, inode TEXT COLLATE "C", receipt TEXT COLLATE "C",
        sha1 TEXT COLLATE "C", sent TEXT COLLATE "C", folder TEXT COLLATE "C",
        place TEXT COLLATE "C", modified BIGINT, retention DOUBLE PRECISION,
        ticket TEXT COLLATE "C", meta TEXT COLLATE "C",
        key TEXT COLLATE "C", metadata TEXT COLLATE "C", name TEXT COLLATE "C",
        path TEXT COLLATE "C", on_conflict TEXT COLLATE "C", durability TEXT COLLATE "C",
        authenticated BOOLEAN, began DOUBLE PRECISION, durable BIGINT, boot TEXT COLLATE "C",
        "offset" BIGINT, until DOUBLE PRECISION
    );
    CREATE UNIQUE INDEX uploads_by_key ON uploads (key) WHERE key IS NOT NULL;
    CREATE INDEX kept_by_until ON uploads (until, upload) WHERE "offset" IS NOT NULL;
    CREATE INDEX kept_by_user ON uploads ("user", authenticated) WHERE "offset" IS NOT NULL;

    CREATE TABLE holdings ("user" TEXT COLLATE "C" PRIMARY KEY, {_NUMBERS});
    -- One row, for ever: its lock is that of all changes that decide something by the sums.
    CREATE TABLE totals ({_NUMBERS});
    INSERT INTO totals VALUES (0, 0, 0, 0, 0, 0);
    {counting("files", FILE_SUMS)}
    {counting("uploads", UPLOAD_SUMS)}

    CREATE TABLE outbox (
        number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        name TEXT COLLATE "C" NOT NULL, receipt TEXT COLLATE "C" NOT NULL,
        attempts BIGINT NOT NULL DEFAULT 0, due DOUBLE PRECISION,
        kind TEXT COLLATE "C" NOT NULL DEFAULT 'stored',
        -- The node that works on it, and until when, by the clock of the database.
        holder TEXT COLLATE "C", held_until TIMESTAMPTZ
    );
    CREATE INDEX outbox_by_kind ON outbox (kind, due, number);
    CREATE INDEX outbox_promised ON outbox (name) WHERE kind = 'removing';

    CREATE TABLE tickets (
        id TEXT COLLATE "C" PRIMARY KEY, until DOUBLE PRECISION NOT NULL, key TEXT COLLATE "C"
    );
    CREATE INDEX tickets_by_until ON tickets (until);
    CREATE INDEX tickets_by_key ON tickets (key) WHERE key IS NOT NULL;

    CREATE TABLE stored_uploads (
        number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        key TEXT COLLATE "C" NOT NULL UNIQUE, metadata TEXT COLLATE "C" NOT NULL,
        name TEXT COLLATE "C" NOT NULL, until DOUBLE PRECISION NOT NULL
    );
    CREATE INDEX stored_uploads_by_until ON stored_uploads (until);

    CREATE TABLE folders (path TEXT COLLATE "C" PRIMARY KEY);

    CREATE TABLE objects (
        upload TEXT COLLATE "C" PRIMARY KEY, size BIGINT NOT NULL, part_size BIGINT NOT NULL,
        name TEXT COLLATE "C", replaces BOOLEAN NOT NULL DEFAULT FALSE,
        multipart TEXT COLLATE "C", completing BOOLEAN NOT NULL DEFAULT FALSE,
        due DOUBLE PRECISION, abandoned BOOLEAN NOT NULL DEFAULT FALSE,
        yields BOOLEAN NOT NULL DEFAULT FALSE,
        tail_key TEXT COLLATE "C", tail_offset BIGINT, tail_length BIGINT, tail_state BYTEA
    );
    CREATE INDEX objects_by_name ON objects (name) WHERE name IS NOT NULL;
    CREATE TABLE parts (
        upload TEXT COLLATE "C" NOT NULL REFERENCES objects ON DELETE CASCADE,
        number BIGINT NOT NULL, length BIGINT NOT NULL, etag TEXT COLLATE "C" NOT NULL,
        state BYTEA NOT NULL,
        PRIMARY KEY (upload, number)
    );

    CREATE TABLE home (text TEXT COLLATE "C" PRIMARY KEY);
    """,  # noqa: S608  constant
    ),
    # 2: the nodes, and which of them has an upload.
    Migration(
        2,
        f"""
    CREATE TABLE nodes (
        name TEXT COLLATE "C" PRIMARY KEY, identity TEXT COLLATE "C" NOT NULL,
        fence BIGINT NOT NULL UNIQUE, until TIMESTAMPTZ NOT NULL,
        version TEXT COLLATE "C" NOT NULL, started TIMESTAMPTZ NOT NULL
    );
    CREATE SEQUENCE fences;
    CREATE FUNCTION check_fence(mine BIGINT, locks BOOLEAN) RETURNS VOID LANGUAGE plpgsql AS $$
    DECLARE
        me TEXT;
    BEGIN
        IF locks THEN
            SELECT name INTO me FROM nodes WHERE fence = mine FOR KEY SHARE;
        ELSE
            SELECT name INTO me FROM nodes WHERE fence = mine;
        END IF;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'the lease is lost' USING ERRCODE = '{LEASE_LOST}';
        END IF;
        -- What the transaction begins belongs to this node.
        PERFORM set_config('galileod.node', me, TRUE),
            set_config('galileod.fence', mine::TEXT, TRUE);
    END $$;
    CREATE FUNCTION own_node() RETURNS TEXT LANGUAGE sql STABLE AS $$
        SELECT nullif(current_setting('galileod.node', TRUE), '') $$;
    CREATE FUNCTION own_fence() RETURNS BIGINT LANGUAGE sql STABLE AS $$
        SELECT nullif(current_setting('galileod.fence', TRUE), '')::BIGINT $$;
    -- Whether an upload is left by an earlier process of this node. Without nodes, each is.
    CREATE FUNCTION is_left(node TEXT, fence BIGINT) RETURNS BOOLEAN LANGUAGE sql STABLE AS $$
        SELECT own_fence() IS NULL OR node = own_node() AND fence IS DISTINCT FROM own_fence() $$;
    ALTER TABLE uploads
        ADD COLUMN node TEXT COLLATE "C" DEFAULT own_node(),
        ADD COLUMN fence BIGINT DEFAULT own_fence();
    CREATE INDEX uploads_by_node ON uploads (node) WHERE "offset" IS NULL;
    """,  # noqa: S608  constant
    ),
    # 3: the newest claim to each upload that runs at another node than the claim.
    Migration(
        3,
        f"""
    CREATE TABLE asks (
        key TEXT COLLATE "C" PRIMARY KEY, asker TEXT COLLATE "C" NOT NULL,
        claimed TIMESTAMPTZ NOT NULL
    );
    CREATE FUNCTION tell_removed() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM pg_notify('{RELEASED}', asks.key) FROM removed JOIN asks USING (key);
        RETURN NULL;
    END $$;
    CREATE TRIGGER tell_removed AFTER DELETE ON uploads REFERENCING OLD TABLE AS removed
        FOR EACH STATEMENT EXECUTE FUNCTION tell_removed();
    CREATE FUNCTION tell_kept() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM pg_notify('{RELEASED}', asks.key) FROM asks WHERE asks.key = new.key;
        RETURN NULL;
    END $$;
    CREATE TRIGGER tell_kept AFTER UPDATE OF "offset" ON uploads FOR EACH ROW
        WHEN (old."offset" IS NULL AND new."offset" IS NOT NULL) EXECUTE FUNCTION tell_kept();
    """,
    ),
    # 4: the names of files that a node replaces or removes, and no other one meanwhile.
    Migration(
        4,
        """
    CREATE TABLE held_names (name TEXT COLLATE "C" PRIMARY KEY, fence BIGINT NOT NULL);
    """,
    ),
    # 5: the oldest schema that may write beside this one; the schema and the machine of each node.
    Migration(
        4,
        """
    ALTER TABLE galileod_schema ADD COLUMN compatible_from INTEGER NOT NULL DEFAULT 4;
    ALTER TABLE nodes
        ADD COLUMN schema INTEGER NOT NULL DEFAULT 4,
        ADD COLUMN host TEXT COLLATE "C" NOT NULL DEFAULT 'an unknown machine';
    """,
    ),
    # 6: the uploads that the node which runs them is to discard, and whether it does.
    Migration(
        4,
        """
    CREATE TABLE discards (
        upload TEXT COLLATE "C" PRIMARY KEY, asked TIMESTAMPTZ NOT NULL, answer BOOLEAN
    );
    """,
    ),
    # 7: the settings of each node that all nodes should have; those of an older one are not known.
    Migration(4, "ALTER TABLE nodes ADD COLUMN settings JSONB"),
)

NODES_SINCE: Final = 2
"""The first schema with a table of nodes."""


def migrate(line: Line, step: Step) -> None:
    """Apply the missing migrations, or wait for another process that does. Blocks.

    Raises LedgerError, also if the tables are of a version that is too new. Raises UnavailableError
    while nodes run that are too old for the tables as they are to be.
    """
    end = time.monotonic() + WAIT_SECONDS
    while not _migrate(line, step):
        if time.monotonic() > end:
            raise LedgerError(
                f"another galileod has been changing the tables for {WAIT_SECONDS:g} s"
            )
        step()
        time.sleep(POLL_SECONDS)


def _migrate(line: Line, step: Step) -> bool:
    """Whether the tables are new enough now; False while another process changes them."""
    with line.transaction("BEGIN") as connection:
        if read_version(connection) >= len(MIGRATIONS):
            return True
        (alone,) = _row(connection, f"SELECT pg_try_advisory_xact_lock({_LOCK})")
        if not alone:
            return False
        with reporting(connection, step):
            before = read_version(connection)  # another process may have changed it since
            missing = MIGRATIONS[before:]
            if missing:
                apply(connection, before, missing)
    return True


def apply(connection: Connection, before: int, missing: Sequence[Migration]) -> None:
    """Apply the migrations that are missing in tables of the schema `before`."""
    oldest = max(migration.oldest for migration in missing)
    if not before:
        connection.execute("CREATE TABLE galileod_schema (version INTEGER NOT NULL)")
        connection.execute("INSERT INTO galileod_schema VALUES (0)")
    if before >= NODES_SINCE:
        _exclude_older(connection, before, oldest)
    for migration in missing:
        connection.execute(migration.statements, prepare=False)
    connection.execute(
        "UPDATE galileod_schema SET version = %s, compatible_from = greatest(compatible_from, %s)",
        (len(MIGRATIONS), oldest),
    )


def _exclude_older(connection: Connection, before: int, oldest: int) -> None:
    """Raise UnavailableError while nodes run whose schema is older than `oldest`.

    Those that are taken for dead lose their leases: they must not write if they go on later.
    """
    connection.execute(_EXCLUDE, prepare=False)
    if running := nodes.older(connection, before, oldest):
        raise UnavailableError(
            "the tables are still used by nodes of an older galileod",
            f": {', '.join(running)}; this version cannot share them: stop these nodes",
        )


def check_version(connection: Connection) -> None:
    """Raise LedgerError if the tables are not of this version, or a newer one that it can use.

    They are only to be read.
    """
    version = read_version(connection)
    if not version:
        raise LedgerError("there is no ledger in the database yet; start galileod to create it")
    if version < len(MIGRATIONS):
        raise LedgerError(
            f"the ledger has schema {version}; start galileod to bring it up to date to schema"
            f" {len(MIGRATIONS)}"
        )


def read_version(connection: Connection) -> int:
    """The schema version: the number of migrations applied.

    Raises LedgerError if it is newer, and does not work with this galileod.
    """
    (exists,) = _row(connection, _EXISTS)
    if not exists:
        return 0
    version, compatible_from = _row(connection, _VERSION)
    if compatible_from > len(MIGRATIONS):
        raise LedgerError(
            f"the ledger has schema {version}, from a newer galileod; it works with schema"
            f" {compatible_from} and newer, and this version has schema {len(MIGRATIONS)}"
        )
    return int(version)


def _row(connection: Connection, query: str) -> tuple[Any, ...]:
    row = connection.execute(query).fetchone()
    if row is None:
        raise LedgerError("the database has other tables than a ledger; use another database")
    return row
