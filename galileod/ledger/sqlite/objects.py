"""The uploads to object storage: their names, parts and tails."""

import json
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from itertools import count
from typing import Any, Final

from attrs import evolve

from galileod.ledger import naming
from galileod.ledger.base import UnknownUploadError
from galileod.ledger.naming import Holders, free_name
from galileod.ledger.objects import (
    Claim,
    NameTakenError,
    Objects,
    ObjectUpload,
    Part,
    Tail,
    parts_end,
)
from galileod.policy.publication import OnConflict

from .database import Database
from .errors import translated

_AT_ONCE: Final = 1000
"""Rows that `SqliteObjects.all` reads at once."""

_TAIL: Final = "tail_key, tail_offset, tail_length, tail_state"

_SELECT: Final = (
    f"SELECT upload, size, part_size, name, multipart, completing, due, abandoned, {_TAIL}"  # noqa: S608
    " FROM objects"
)

_STORED: Final = "SELECT EXISTS (SELECT 1 FROM files WHERE name = ?1)"

_CLAIMS: Final = "SELECT 1 FROM objects WHERE name = ?1 AND upload <> ?2 AND NOT yields"
"""The claims of other uploads."""

_TAKEN: Final = f"{_STORED} OR EXISTS ({_CLAIMS})"

_CLAIMED_ALONE: Final = f"SELECT EXISTS ({_CLAIMS} AND NOT replaces)"

_UNSETTLED: Final = f"SELECT EXISTS ({_CLAIMS} AND due IS NOT NULL)"


def begin(connection: sqlite3.Connection, upload: str, size: int, part_size: int) -> None:
    """See `Objects.begin`."""
    connection.execute(
        "INSERT OR IGNORE INTO objects (upload, size, part_size) VALUES (?, ?, ?)",
        (upload, size, part_size),
    )


def claim(
    connection: sqlite3.Connection,
    upload: str,
    path: str,
    on_conflict: OnConflict,
    taken: Collection[str],
) -> str:
    """See `Objects.claim`."""
    row = connection.execute("SELECT name FROM objects WHERE upload = ?", (upload,)).fetchone()
    if row is None:
        raise _unknown()
    (name,) = row
    if name is not None and name not in taken:
        return str(name)
    name = _free_name(connection, upload, path, on_conflict, taken)
    connection.execute(
        "UPDATE objects SET name = ?, replaces = ?, completing = FALSE WHERE upload = ?",
        (name, on_conflict == "replace", upload),
    )
    return name


def claim_whole(
    connection: sqlite3.Connection, claims: Sequence[Claim]
) -> list[str | NameTakenError]:
    """See `Objects.claim_whole`."""
    return [_claim_one(connection, each) for each in claims]


def created(connection: sqlite3.Connection, upload: str, multipart: str) -> None:
    """See `Objects.created`."""
    _update(connection, "multipart = ?", (multipart,), upload)


def add_part(connection: sqlite3.Connection, upload: str, part: Part) -> Tail | None:
    """See `Objects.add_part`."""
    tail = _tail(connection, upload)
    connection.execute(
        "INSERT OR REPLACE INTO parts (upload, number, length, etag, state) VALUES (?, ?, ?, ?, ?)",
        (upload, part.number, part.length, part.etag, part.state),
    )
    if tail is None or parts_end(_parts(connection, upload)) < tail.offset + tail.length:
        return None
    _update(connection, f"({_TAIL}) = (NULL, NULL, NULL, NULL)", (), upload)
    return tail


def set_tail(connection: sqlite3.Connection, upload: str, tail: Tail) -> Tail | None:
    """See `Objects.set_tail`."""
    before = _tail(connection, upload)
    values = tail.key, tail.offset, tail.length, tail.state
    _update(connection, f"({_TAIL}) = (?, ?, ?, ?)", values, upload)
    return before


def completing(connection: sqlite3.Connection, upload: str) -> None:
    """See `Objects.completing`."""
    row = connection.execute("SELECT name FROM objects WHERE upload = ?", (upload,)).fetchone()
    if row is not None and _exists(connection, _UNSETTLED, row[0], upload):
        raise naming.unsettled(row[0])
    _update(connection, "completing = TRUE", (), upload)


def doubt(connection: sqlite3.Connection, upload: str, due: float) -> None:
    """See `Objects.doubt`."""
    _update(connection, "due = ?", (due,), upload)


def resume(connection: sqlite3.Connection, upload: str) -> ObjectUpload | None:
    """See `Objects.resume`."""
    found = get(connection, upload)
    if found is None:
        return None
    connection.execute("UPDATE objects SET completing = FALSE WHERE upload = ?", (upload,))
    connection.execute(
        "DELETE FROM parts WHERE upload = ? AND number > ?", (upload, len(found.parts))
    )
    return evolve(found, completing=False)


def get(connection: sqlite3.Connection, upload: str) -> ObjectUpload | None:
    """See `Objects.get`."""
    row = connection.execute(f"{_SELECT} WHERE upload = ?", (upload,)).fetchone()
    return None if row is None else _read(connection, row)


def page(connection: sqlite3.Connection, after: str, most: int) -> list[ObjectUpload]:
    """At most `most` in the order of their names, after `after`."""
    rows = connection.execute(
        f"{_SELECT} WHERE upload > ? ORDER BY upload LIMIT ?", (after, most)
    ).fetchall()
    return [_read(connection, row) for row in rows]


def drop(connection: sqlite3.Connection, upload: str) -> ObjectUpload | None:
    """See `Objects.drop`."""
    found = get(connection, upload)
    forget(connection, [upload])
    return found


def forget(connection: sqlite3.Connection, uploads: Collection[str]) -> None:
    """Forget uploads, if they are there. A trigger removes their parts."""
    # One by one takes a microsecond each; a local store has none.
    connection.executemany(
        "DELETE FROM objects WHERE upload = ?", [(upload,) for upload in uploads]
    )


def abandon(connection: sqlite3.Connection, upload: str, *, yields: bool) -> None:
    """See `Objects.abandon`."""
    connection.execute(
        "UPDATE objects SET abandoned = TRUE, yields = ? WHERE upload = ?", (yields, upload)
    )


def give_up(connection: sqlite3.Connection, uploads: Collection[str], due: float) -> None:
    """See `Objects.give_up`."""
    connection.executemany(
        "UPDATE objects SET abandoned = TRUE, yields = multipart IS NULL, due = ? WHERE upload = ?",
        [(due, upload) for upload in uploads],
    )


def hold(connection: sqlite3.Connection, upload: str, before: float, due: float) -> bool:
    """See `Objects.hold`."""
    found = get(connection, upload)
    if found is None or found.name is None or found.due != before:
        return False
    if _exists(connection, _STORED, found.name):
        raise naming.stored(found.name)
    if _exists(connection, _TAKEN, found.name, upload):
        return False
    _update(connection, "yields = FALSE, due = ?", (due,), upload)
    return True


def known(connection: sqlite3.Connection, column: str, values: Collection[str]) -> set[str]:
    """Those of the values that a column has."""
    rows = connection.execute(
        f"SELECT {column} FROM objects"  # noqa: S608  constant
        f" WHERE {column} IN (SELECT value FROM json_each(?))",
        (json.dumps(list(values), ensure_ascii=False),),
    )
    return {value for (value,) in rows}


def abandoned(connection: sqlite3.Connection, after: str, count: int) -> dict[str, float]:
    """See `Objects.abandoned`."""
    rows = connection.execute(
        "SELECT upload, coalesce(due, 0) FROM objects WHERE upload > ? AND NOT EXISTS"
        " (SELECT 1 FROM uploads WHERE uploads.upload = objects.upload) ORDER BY upload LIMIT ?",
        (after, count),
    )
    return dict(rows)


class SqliteObjects(Objects):
    """The tables `objects` and `parts`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(self, upload: str, size: int, part_size: int) -> None:
        """See `Objects.begin`."""
        await self._database.write(begin, upload, size, part_size)

    async def claim(
        self, upload: str, path: str, on_conflict: OnConflict, taken: Collection[str] = ()
    ) -> str:
        """See `Objects.claim`."""
        return await self._database.write(claim, upload, path, on_conflict, taken)

    async def claim_whole(self, claims: Sequence[Claim]) -> Sequence[str | NameTakenError]:
        """See `Objects.claim_whole`."""
        return await self._database.write_durably(claim_whole, claims)

    async def created(self, upload: str, multipart: str) -> None:
        """See `Objects.created`."""
        await self._database.write_durably(created, upload, multipart)

    async def add_part(self, upload: str, part: Part) -> Tail | None:
        """See `Objects.add_part`."""
        return await self._database.write_durably(add_part, upload, part)

    async def set_tail(self, upload: str, tail: Tail) -> Tail | None:
        """See `Objects.set_tail`."""
        return await self._database.write_durably(set_tail, upload, tail)

    async def completing(self, upload: str) -> None:
        """See `Objects.completing`."""
        await self._database.write_durably(completing, upload)

    async def doubt(self, upload: str, due: float) -> None:
        """See `Objects.doubt`."""
        await self._database.write_durably(doubt, upload, due)

    async def resume(self, upload: str) -> ObjectUpload | None:
        """See `Objects.resume`."""
        return await self._database.write(resume, upload)

    async def get(self, upload: str) -> ObjectUpload | None:
        """See `Objects.get`."""
        return await self._database.read(get, upload)

    async def drop(self, upload: str) -> ObjectUpload | None:
        """See `Objects.drop`."""
        return await self._database.write(drop, upload)

    async def abandon(self, upload: str, *, yields: bool) -> None:
        """See `Objects.abandon`."""
        await self._database.write(partial(abandon, yields=yields), upload)

    async def hold(self, upload: str, before: float, due: float) -> bool:
        """See `Objects.hold`."""
        return await self._database.write_durably(hold, upload, before, due)

    async def known(self, multiparts: Collection[str]) -> Collection[str]:
        """See `Objects.known`."""
        return await self._database.read(known, "multipart", multiparts)

    async def known_tails(self, keys: Collection[str]) -> Collection[str]:
        """See `Objects.known_tails`."""
        return await self._database.read(known, "tail_key", keys)

    async def abandoned(self, after: str, count: int) -> Mapping[str, float]:
        """See `Objects.abandoned`."""
        return await self._database.read(abandoned, after, count)

    def all(self) -> Iterator[ObjectUpload]:
        """See `Objects.all`."""
        after = ""
        with translated():
            while found := page(self._database.connection, after, _AT_ONCE):
                yield from found
                after = found[-1].upload

    def give_up(self, uploads: Collection[str], due: float) -> None:
        """See `Objects.give_up`."""
        with self._database.transaction() as connection:
            give_up(connection, uploads, due)

    def forget(self, uploads: Collection[str]) -> None:
        """See `Objects.forget`."""
        with self._database.transaction() as connection:
            forget(connection, uploads)


def _claim_one(connection: sqlite3.Connection, one: Claim) -> str | NameTakenError:
    try:
        name = _free_name(connection, one.upload, one.path, one.on_conflict, ())
    except NameTakenError as error:
        return error
    begin(connection, one.upload, one.size, one.size)
    _update(
        connection,
        "name = ?, replaces = ?, completing = TRUE",
        (name, one.on_conflict == "replace"),
        one.upload,
    )
    return name


def _free_name(
    connection: sqlite3.Connection,
    upload: str,
    path: str,
    on_conflict: OnConflict,
    taken: Collection[str],
) -> str:
    """The name that an upload may claim. Raises NameTakenError."""
    has = Holders(
        lambda name: name in taken or _exists(connection, _STORED, name),
        lambda name: name in taken or _exists(connection, _TAKEN, name, upload),
        lambda name: _exists(connection, _CLAIMED_ALONE, name, upload),
        lambda name: _exists(connection, _UNSETTLED, name, upload),
    )
    return free_name(path, on_conflict, has)


def _exists(connection: sqlite3.Connection, query: str, *values: str) -> bool:
    (exists,) = connection.execute(query, values).fetchone()
    return bool(exists)


def _update(
    connection: sqlite3.Connection, changes: str, values: Sequence[object], upload: str
) -> None:
    """Change a row. Raises UnknownUploadError."""
    query = f"UPDATE objects SET {changes} WHERE upload = ?"  # noqa: S608  constant
    if not connection.execute(query, (*values, upload)).rowcount:
        raise _unknown()


def _tail(connection: sqlite3.Connection, upload: str) -> Tail | None:
    """The tail of an upload, if it has one. Raises UnknownUploadError."""
    row = connection.execute(
        f"SELECT {_TAIL} FROM objects WHERE upload = ?",  # noqa: S608  constant
        (upload,),
    ).fetchone()
    if row is None:
        raise _unknown()
    return None if row[0] is None else Tail(*row)


def _parts(connection: sqlite3.Connection, upload: str) -> tuple[Part, ...]:
    """The parts of an upload up to the first gap."""
    rows = connection.execute(
        "SELECT number, length, etag, state FROM parts WHERE upload = ? ORDER BY number", (upload,)
    )
    parts = list[Part]()
    for expected, row in zip(count(1), rows, strict=False):
        if row[0] != expected:
            break
        parts.append(Part(*row))
    return tuple(parts)


def _read(connection: sqlite3.Connection, row: Sequence[Any]) -> ObjectUpload:
    upload, size, part_size, name, multipart, completes, due, given_up, *tail_of = row
    parts = _parts(connection, upload)
    tail = None if tail_of[0] is None else Tail(*tail_of)
    if tail is not None and tail.offset > parts_end(parts):
        tail = None  # the ledger was damaged, and has lost a part before it
    return ObjectUpload(
        upload,
        size,
        part_size,
        name,
        multipart,
        bool(completes),
        parts,
        tail,
        due,
        bool(given_up),
    )


def _unknown() -> UnknownUploadError:
    return UnknownUploadError("the upload is not in the ledger")
