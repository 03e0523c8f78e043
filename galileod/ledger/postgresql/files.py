"""The stored files and their owners.

Each change is one statement, whatever the number of files: the triggers that keep the sums run once
for each statement.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any, Final

from galileod.ledger.base import UNKNOWN_USER
from galileod.ledger.records import CANDIDATES, Commit, FileEntry, Wanted

from . import folders
from .connection import Connection

_AT_ONCE: Final = 1000
"""Maximum files that one statement changes."""

MOST_INDEXED: Final = 2600
"""Maximum bytes of a name, and of a place with its user: an entry of an index has 2704 at most.

No file with a longer name is stored by an upload, see `Records.longest_name`; others may have made
one, and it gets no entry.
"""

_REPLACE: Final = "DELETE FROM files WHERE name = ANY(%s::text[])"

_ENTER: Final = (
    'INSERT INTO files (name, "user", bytes, sha1, stored, sent, folder, place, modified,'  # noqa: S608  constant
    ' upload, expires, ticket, meta) SELECT new.name, uploads."user", uploads.bytes,'
    " coalesce(new.sha1, uploads.sha1), %(now)s::float8, uploads.sent, uploads.folder,"
    f' CASE WHEN octet_length(uploads.place || uploads."user") <= {MOST_INDEXED}'
    " THEN uploads.place ELSE '' END, uploads.modified, uploads.upload,"
    " %(now)s::float8 + uploads.retention, uploads.ticket, uploads.meta"
    " FROM unnest(%(uploads)s::text[], %(names)s::text[], %(sha1s)s::text[])"
    " WITH ORDINALITY AS new (upload, name, sha1, at)"
    # The numbers of the rows are in this order.
    " JOIN uploads ON uploads.upload = new.upload ORDER BY new.at"
)

COLUMNS: Final = (
    'files.name, files."user", files.bytes, files.sha1, files.stored, files.sent, files.folder,'
    " nullif(files.place, ''), files.modified, files.upload, files.expires, files.ticket,"
    " files.meta"
)
"""The attributes of a FileEntry, in their order."""

_OF_NAMES: Final = f"SELECT {COLUMNS} FROM files WHERE name = ANY(%s::text[])"  # noqa: S608  constant

_CLAIMED: Final = (
    "SELECT found.name FROM unnest(%s::text[]) AS found (name)"
    " WHERE EXISTS (SELECT FROM objects WHERE objects.name = found.name)"
)

_ADD_UNKNOWN: Final = (
    'INSERT INTO files (name, "user", bytes) SELECT name, %s, bytes'
    " FROM unnest(%s::text[], %s::bigint[]) AS found (name, bytes) ON CONFLICT (name) DO NOTHING"
)

_AS_READ: Final = (
    "unnest(%s::text[], %s::text[], %s::bigint[], %s::float8[], %s::text[], %s::float8[],"
    ' %s::bigint[]) WITH ORDINALITY AS read (name, "user", bytes, stored, upload, expires, size,'
    " at)"
    ' WHERE files.name = read.name AND files."user" = read."user" AND files.bytes = read.bytes'
    " AND files.stored IS NOT DISTINCT FROM read.stored"
    " AND files.upload IS NOT DISTINCT FROM read.upload"
    " AND files.expires IS NOT DISTINCT FROM read.expires"
)
"""Of records that were read before, those that have not changed since. `size` is a new size."""

_REMOVE: Final = f"DELETE FROM files USING {_AS_READ} RETURNING read.at"  # noqa: S608  constant

_FORGET: Final = "sha1 = NULL, stored = NULL, modified = NULL, expires = NULL"
"""What is not certain of a file with another size."""

_RESIZE: Final = (
    f"UPDATE files SET bytes = changed.size, {_FORGET}"  # noqa: S608  it is constant
    " FROM unnest(%s::bigint[], %s::text[]) AS changed (size, name)"
    " WHERE files.name = changed.name"
)

_RESIZE_UNCHANGED: Final = f"UPDATE files SET bytes = read.size, {_FORGET} FROM {_AS_READ}"  # noqa: S608  likewise

_ALIKE: Final = (
    "SELECT name, place, bytes, modified, sha1 FROM (SELECT *, row_number()"  # noqa: S608  constant
    " OVER (PARTITION BY place, bytes, modified, sha1 ORDER BY number DESC) AS nth FROM"
    " (SELECT number, name, place, bytes,"
    " CASE WHEN modified = ANY(%(times)s::bigint[]) THEN modified END AS modified,"
    " CASE WHEN sha1 = ANY(%(sha1s)s::text[]) THEN sha1 END AS sha1 FROM files"
    ' WHERE "user" = %(user)s AND place = ANY(%(places)s::text[])'
    " AND bytes = ANY(%(sizes)s::bigint[])) AS alike) AS counted"
    f" WHERE nth <= {CANDIDATES} ORDER BY number"
)
"""The newest of each place, size, and time and hash if these are wanted.

Each place is read once, however often it is wanted. A user may have many files of one place.
"""

_MOST: Final = 2**63
"""What is not below it is the time of no file in the ledger."""


def enter(connection: Connection, commits: Sequence[Commit], now: float) -> None:
    """Add the files of running uploads, or replace the entries of those names, in this order.

    Those that are gone by now are left out, and names above MOST_INDEXED.
    """
    last = {each.name: each for each in commits if not each.gone and _is_indexed(each.name)}
    rows = [each for each in commits if last.get(each.name) is each]  # of two with the same name
    names = [each.name for each in rows]
    connection.execute(_REPLACE, (names,))
    values = {
        "now": now,
        "uploads": [each.upload for each in rows],
        "names": names,
        "sha1s": [each.sha1 for each in rows],
    }
    connection.execute(_ENTER, values)
    folders.remember(connection, (path for each in commits for path in each.made))


def find(
    connection: Connection, user: str, wanted: Sequence[Wanted]
) -> Mapping[int, Sequence[FileEntry]]:
    """The user's files that match, by the index in `wanted`. See `Records.find_files`."""
    found = {one: deque[str](maxlen=CANDIDATES) for one in wanted}  # of what has the same values
    values = {
        "user": user,
        "places": list({one.place for one in found if one.place}),
        "sizes": list({one.size for one in found}),
        "times": [time for one in found if abs(time := one.modified or 0) < _MOST],
        "sha1s": [one.sha1 for one in found if one.sha1 and one.sha1.isascii()],
    }
    for name, place, size, modified, sha1 in connection.execute(_ALIKE, values):
        for both in set(product((modified, None), (sha1, None))):
            names = found.get(Wanted(place, size, *both))
            if names is not None:
                names.append(name)
    entries = of_names(connection, list({name for names in found.values() for name in names}))
    return {
        index: [entries[name] for name in reversed(found[one])]
        for index, one in enumerate(wanted)
        if found[one]
    }


def of_names(connection: Connection, names: Sequence[str]) -> dict[str, FileEntry]:
    """The records of those of the names that have one."""
    rows = connection.execute(_OF_NAMES, (list(names),))
    return {found.name: found for found in map(entry, rows)}


def remove(connection: Connection, entries: Sequence[FileEntry]) -> list[bool]:
    """Drop these records; False for each that has changed since it was read."""
    if not entries:
        return []
    removed = {at for (at,) in connection.execute(_REMOVE, _as_read([(one, 0) for one in entries]))}
    return [at in removed for at, _ in enumerate(entries, 1)]


def is_empty(connection: Connection) -> bool:
    """Whether there is no file in the ledger."""
    return connection.execute("SELECT 1 FROM files LIMIT 1").fetchone() is None


def reconcile(connection: Connection, on_disk: Mapping[str, int]) -> int:
    """Make the table agree with the sizes in `on_disk`; returns how many files were not in it."""
    with connection.cursor("entered") as cursor:  # the server does not send all at once
        cursor.itersize = _AT_ONCE
        cursor.execute("SELECT name, bytes FROM files")
        entered: dict[str, int] = dict(cursor)
    gone = [name for name in entered if name not in on_disk]
    for first in range(0, len(gone), _AT_ONCE):
        connection.execute(_REPLACE, (gone[first : first + _AT_ONCE],))
    unknown, changed = list[tuple[str, int]](), list[tuple[int, str]]()
    for name, size in on_disk.items():
        known = entered.get(name)
        if known is None:
            unknown.append((name, size))
        elif size != known:
            changed.append((size, name))
    add_unknown(connection, unknown)
    resize(connection, changed)
    return len(unknown)


def enter_found(connection: Connection, found: Sequence[tuple[str, int]]) -> int:
    """See `Records.enter_found`."""
    claimed = {name for (name,) in connection.execute(_CLAIMED, ([name for name, _ in found],))}
    return add_unknown(connection, [each for each in found if each[0] not in claimed])


def add_unknown(connection: Connection, found: Sequence[tuple[str, int]]) -> int:
    """Add files by name and size that were not stored by an upload, unless they are there.

    Those with longer names than MOST_INDEXED are left out. Returns how many were added.
    """
    added, possible = 0, [each for each in found if _is_indexed(each[0])]
    for first in range(0, len(possible), _AT_ONCE):
        names, sizes = zip(*possible[first : first + _AT_ONCE], strict=True)
        values = UNKNOWN_USER, list(names), list(sizes)
        added += connection.execute(_ADD_UNKNOWN, values).rowcount
    return added


def resize(connection: Connection, changed: Sequence[tuple[int, str]]) -> None:
    """Enter the size of files, by name, that somebody has changed. See FileEntry."""
    for first in range(0, len(changed), _AT_ONCE):
        sizes, names = zip(*changed[first : first + _AT_ONCE], strict=True)
        connection.execute(_RESIZE, (list(sizes), list(names)))


def resize_unchanged(connection: Connection, changed: Sequence[tuple[FileEntry, int]]) -> int:
    """`resize`, unless the record has changed since it was read; returns how many were changed."""
    if not changed:
        return 0
    return connection.execute(_RESIZE_UNCHANGED, _as_read(changed)).rowcount


def _is_indexed(name: str) -> bool:
    return len(name.encode()) <= MOST_INDEXED


def _as_read(changed: Sequence[tuple[FileEntry, int]]) -> Sequence[list[Any]]:
    """The parameters of _AS_READ."""
    rows = [
        (each.name, each.user, each.size, each.stored, each.upload, each.expires, size)
        for each, size in changed
    ]
    return [list(column) for column in zip(*rows, strict=True)]


def entry(columns: Sequence[Any]) -> FileEntry:
    """From COLUMNS."""
    return FileEntry(*columns)
