"""No statement that runs beside uploads reads a whole table, however the server plans it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing

import pytest
from helpers.objects import part, tail

from galileod.hooks.settings import MAX_PARALLEL
from galileod.ledger.objects import Claim
from galileod.ledger.outbox import KINDS
from galileod.ledger.postgresql import Address, files, folders, listing, objects, outbox
from galileod.ledger.postgresql.connection import Connection, connect
from galileod.ledger.postgresql.database import Database
from galileod.ledger.records import FileEntry, Selection, Wanted

pytestmark = pytest.mark.timeout(120)

ROWS = 20_000
FIRST = 1e9
"""When the first file was stored."""

FILL = (
    (
        'INSERT INTO files (name, "user", bytes, stored, sha1, place, upload, expires)'
        f" SELECT n || '/f', 'u' || n % 50, n % 1000, {FIRST} + n, md5(n::TEXT), n / 3 || '/f',"
        f" n::TEXT, CASE WHEN n % 10 = 0 THEN {FIRST} + n END FROM generate_series(1, {ROWS}) AS n"
    ),
    "INSERT INTO folders SELECT n::TEXT FROM generate_series(1, 20000) AS n",
    (
        "INSERT INTO outbox (name, receipt, due, kind)"
        " SELECT n || '/f', '{}', n % 3000, CASE WHEN n % 2 = 0 THEN 'stored' ELSE 'removed' END"
        f" FROM generate_series(1, {ROWS}) AS n"
    ),
    (
        "INSERT INTO objects (upload, size, part_size, name)"
        f" SELECT 'o' || n, 1, 1, 'o/' || n FROM generate_series(1, {ROWS}) AS n"
    ),
    "INSERT INTO parts SELECT upload, 1, 5, 'e', 's' FROM objects",
    "ANALYZE",
)


@pytest.fixture
def connection(address: Address, database: Database) -> Iterator[Connection]:
    """To tables with many rows."""
    del database  # has made them
    with closing(connect(address)) as connection:
        for statement in FILL:
            connection.execute(statement.encode())
        yield connection


def some_files(connection: Connection, first: int, count: int) -> list[FileEntry]:
    names = [f"{number}/f" for number in range(first, first + count)]
    return list(files.of_names(connection, names).values())


def remove_some(connection: Connection, first: int) -> None:
    entries = some_files(connection, first, 20)
    assert files.remove(connection, entries) == [True] * 20
    names = [one.name for one in entries]
    outbox.promise(connection, [(name, "{}") for name in names])
    assert outbox.keep_promises(connection, names, 0.0) == set(names)
    outbox.break_promises(connection, names)
    assert len(folders.take_empty(connection, names)) == 20


def resize_some(connection: Connection, first: int) -> None:
    entries = some_files(connection, first, 20)
    assert files.resize_unchanged(connection, [(one, one.size + 1) for one in entries]) == 20


def deliver_some(connection: Connection, _number: int) -> None:
    kept, sent, *_ = outbox.first(connection, MAX_PARALLEL, KINDS, lambda: FIRST, "node", 60)
    outbox.postpone(connection, kept.number, 5, lambda: FIRST, "node")
    outbox.delivered(connection, sent.number)


def store_object(connection: Connection, number: int) -> None:
    upload = f"new {number}"
    objects.begin(connection, upload, 1, 1)
    assert objects.claim(connection, upload, f"{number}/f", "rename", ()) == f"{number}/f (1)"
    objects.created(connection, upload, "multipart")
    objects.set_tail(connection, upload, tail(0, 5))
    objects.add_part(connection, upload, part(1))
    objects.completing(connection, upload)
    objects.resume(connection, upload)
    objects.claim_whole(connection, [Claim(f"{upload} whole", 1, f"{number}/f", "replace")])
    objects.doubt(connection, upload, 1.0)
    objects.abandon(connection, upload, yields=True)
    objects.hold(connection, upload, 1.0, 2.0)
    objects.drop(connection, upload)


def ask(connection: Connection, first: int) -> None:
    wanted = [
        Wanted(f"{number // 3}/f", number % 1000) for number in range(first, first + 5000, 50)
    ]
    assert files.find(connection, f"u{first % 50}", wanted)


def pages(*selections: Selection) -> Callable[[Connection, int], None]:
    def read(connection: Connection, count: int) -> None:
        for selection in selections:
            cursor: str | None = ""
            for _ in range(3):
                _, cursor = listing.page(connection, selection, cursor or "", count)

    return read


def retention(connection: Connection, count: int) -> None:
    for seconds in (None, 10.0):
        _, cursor = listing.expired(connection, seconds, "", count, FIRST + ROWS)
        listing.expired(connection, seconds, cursor or "", count, FIRST + ROWS)


STEPS: Sequence[Callable[[Connection, int], object]] = (
    pages(Selection()),
    pages(Selection("u7"), Selection("u7", since=FIRST + 9)),
    pages(Selection(since=FIRST + 100), Selection(since=FIRST, until=FIRST + 5000)),
    retention,
    ask,
    remove_some,
    resize_some,
    lambda connection, first: files.enter_found(connection, [(f"{first}/g", 1), ("1/f", 1)]),
    deliver_some,
    store_object,
    lambda connection, number: objects.abandoned(connection, f"o{number}", 100),
    lambda connection, number: objects.page(connection, f"o{number}", 10),
)


def read_whole(connection: Connection) -> dict[str, int]:
    """How often each table was read as a whole."""
    connection.execute("SELECT pg_stat_force_next_flush()")
    rows = connection.execute(
        "SELECT relname, seq_scan FROM pg_stat_user_tables WHERE schemaname = current_schema()"
        # These have one row, or few.
        " AND relname NOT IN ('totals', 'holdings', 'uploads', 'nodes', 'galileod_schema')"
    )
    return dict(rows.fetchall())


def test_no_statement_reads_a_whole_table(connection: Connection) -> None:
    connection.prepare_threshold = 0
    before, number = read_whole(connection), 0
    assert {"files", "outbox", "objects", "parts", "folders"} <= before.keys()
    for mode in ("force_custom_plan", "force_generic_plan"):
        connection.execute(f"SET plan_cache_mode = {mode}".encode())
        for at, step in enumerate(STEPS):
            number += 100
            step(connection, number)
            assert read_whole(connection) == before, (mode, at)
    connection.execute("SELECT count(sha1) FROM files")
    assert read_whole(connection)["files"] == before["files"] + 1
