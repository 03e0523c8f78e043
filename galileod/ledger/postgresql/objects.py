"""The uploads to object storage: their names, parts and tails.

What an upload has claimed is decided while the transaction holds the lock of the ledger, so no two
nodes claim one name. All else concerns the rows of one upload, of which that in `objects` is
locked first.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

from galileod.ledger import naming
from galileod.ledger.base import UnknownUploadError
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

from .connection import Connection
from .database import Database

_AT_ONCE: Final = 1000
"""Rows that `PostgresqlObjects.all` reads at once."""

_TAIL: Final = "tail_key, tail_offset, tail_length, tail_state"

_SELECT: Final = (
    f"SELECT upload, size, part_size, name, multipart, completing, due, abandoned, {_TAIL}"  # noqa: S608
    " FROM objects"
)

_STORED: Final = "SELECT EXISTS (SELECT FROM files WHERE name = %(name)s)"

_CLAIMS: Final = "SELECT FROM objects WHERE name = %(name)s AND upload <> %(upload)s AND NOT yields"
"""The claims of other uploads."""

_TAKEN: Final = f"{_STORED} OR EXISTS ({_CLAIMS})"

_CLAIMED_ALONE: Final = f"SELECT EXISTS ({_CLAIMS} AND NOT replaces)"

_UNSETTLED: Final = f"SELECT EXISTS ({_CLAIMS} AND due IS NOT NULL)"

_LEFT: Final = (
    "(own_fence() IS NULL OR EXISTS (SELECT FROM uploads"
    " WHERE uploads.upload = objects.upload AND is_left(node, fence)))"
)
"""Without nodes, also those that have no reservation any more; else the sweeper finds them."""

_JOINED: Final = (
    "SELECT upload, number, length, etag, state FROM (SELECT parts.*,"
    " row_number() OVER (PARTITION BY upload ORDER BY number) AS expected"
    " FROM parts WHERE upload = ANY(%s::text[])) AS counted"
    " WHERE number = expected ORDER BY upload, number"
)
"""The parts of uploads up to the first gap."""

_JOINED_END: Final = (
    "SELECT coalesce(sum(length), 0)::bigint FROM (SELECT number, length,"
    " row_number() OVER (ORDER BY number) AS expected FROM parts WHERE upload = %s) AS counted"
    " WHERE number = expected"
)
"""The number of their bytes."""


def begin(connection: Connection, upload: str, size: int, part_size: int) -> None:
    """See `Objects.begin`."""
    connection.execute(
        "INSERT INTO objects (upload, size, part_size) VALUES (%s, %s, %s)"
        " ON CONFLICT (upload) DO NOTHING",
        (upload, size, part_size),
    )


def claim(
    connection: Connection,
    upload: str,
    path: str,
    on_conflict: OnConflict,
    taken: Collection[str],
) -> str:
    """See `Objects.claim`."""
    row = connection.execute("SELECT name FROM objects WHERE upload = %s", (upload,)).fetchone()
    if row is None:
        raise _unknown()
    (name,) = row
    if name is not None and name not in taken:
        return str(name)
    name = _free_name(connection, upload, path, on_conflict, taken)
    values = name, on_conflict == "replace"
    _update(connection, "name = %s, replaces = %s, completing = FALSE", values, upload)
    return name


def claim_whole(connection: Connection, claims: Sequence[Claim]) -> list[str | NameTakenError]:
    """See `Objects.claim_whole`."""
    return [_claim_one(connection, each) for each in claims]


def created(connection: Connection, upload: str, multipart: str) -> None:
    """See `Objects.created`."""
    _update(connection, "multipart = %s", (multipart,), upload)


def add_part(connection: Connection, upload: str, part: Part) -> Tail | None:
    """See `Objects.add_part`."""
    tail = _tail(connection, upload)
    connection.execute(
        "INSERT INTO parts (upload, number, length, etag, state) VALUES (%s, %s, %s, %s, %s)"
        " ON CONFLICT (upload, number) DO UPDATE SET length = excluded.length,"
        " etag = excluded.etag, state = excluded.state",
        (upload, part.number, part.length, part.etag, part.state),
    )
    if tail is None or _joined_end(connection, upload) < tail.offset + tail.length:
        return None
    _update(connection, f"({_TAIL}) = (NULL, NULL, NULL, NULL)", (), upload)
    return tail


def set_tail(connection: Connection, upload: str, tail: Tail) -> Tail | None:
    """See `Objects.set_tail`."""
    before = _tail(connection, upload)
    values = tail.key, tail.offset, tail.length, tail.state
    _update(connection, f"({_TAIL}) = (%s, %s, %s, %s)", values, upload)
    return before


def completing(connection: Connection, upload: str) -> None:
    """See `Objects.completing`."""
    row = connection.execute("SELECT name FROM objects WHERE upload = %s", (upload,)).fetchone()
    if row is not None and _exists(connection, _UNSETTLED, row[0], upload):
        raise naming.unsettled(row[0])
    _update(connection, "completing = TRUE", (), upload)


def doubt(connection: Connection, upload: str, due: float) -> None:
    """See `Objects.doubt`."""
    _update(connection, "due = %s", (due,), upload)


def resume(connection: Connection, upload: str) -> ObjectUpload | None:
    """See `Objects.resume`."""
    changed = connection.execute(
        "UPDATE objects SET completing = FALSE WHERE upload = %s", (upload,)
    )
    if not changed.rowcount:
        return None
    found = get(connection, upload)
    if found is not None:
        connection.execute(
            "DELETE FROM parts WHERE upload = %s AND number > %s", (upload, len(found.parts))
        )
    return found


def get(connection: Connection, upload: str) -> ObjectUpload | None:
    """See `Objects.get`."""
    rows = connection.execute(f"{_SELECT} WHERE upload = %s", (upload,)).fetchall()
    found = _with_parts(connection, rows)
    return found[0] if found else None


def page(connection: Connection, after: str, most: int) -> list[ObjectUpload]:
    """At most `most` in the order of their names, after `after`: of uploads that are left."""
    query = f"{_SELECT} WHERE upload > %s AND {_LEFT} ORDER BY upload LIMIT %s"
    return _with_parts(connection, connection.execute(query, (after, most)).fetchall())


def drop(connection: Connection, upload: str) -> ObjectUpload | None:
    """See `Objects.drop`."""
    found = get(connection, upload)
    forget(connection, [upload])
    return found


def forget(connection: Connection, uploads: Collection[str]) -> None:
    """Forget uploads, if they are there. Their parts go with them."""
    connection.execute("DELETE FROM objects WHERE upload = ANY(%s::text[])", (list(uploads),))


def abandon(connection: Connection, upload: str, *, yields: bool) -> None:
    """See `Objects.abandon`."""
    connection.execute(
        "UPDATE objects SET abandoned = TRUE, yields = %s WHERE upload = %s", (yields, upload)
    )


def give_up(connection: Connection, uploads: Collection[str], due: float) -> None:
    """See `Objects.give_up`."""
    connection.execute(
        "UPDATE objects SET abandoned = TRUE, yields = multipart IS NULL, due = %s"
        " WHERE upload = ANY(%s::text[])",
        (due, list(uploads)),
    )


def hold(connection: Connection, upload: str, before: float, due: float) -> bool:
    """See `Objects.hold`."""
    found = get(connection, upload)
    if found is None or found.name is None or found.due != before:
        return False
    if _exists(connection, _STORED, found.name, upload):
        raise naming.stored(found.name)
    if _exists(connection, _TAKEN, found.name, upload):
        return False
    _update(connection, "yields = FALSE, due = %s", (due,), upload)
    return True


def known(connection: Connection, column: str, values: Collection[str]) -> set[str]:
    """Those of the values that a column has."""
    query = f"SELECT {column} FROM objects WHERE {column} = ANY(%s::text[])"  # noqa: S608  constant
    return {value for (value,) in connection.execute(query, (list(values),))}


def abandoned(connection: Connection, after: str, count: int) -> dict[str, float]:
    """See `Objects.abandoned`."""
    rows = connection.execute(
        "SELECT upload, coalesce(due, 0) FROM objects WHERE upload > %s AND NOT EXISTS"
        " (SELECT FROM uploads WHERE uploads.upload = objects.upload) ORDER BY upload LIMIT %s",
        (after, count),
    )
    return dict(rows.fetchall())


class PostgresqlObjects(Objects):
    """The tables `objects` and `parts`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(self, upload: str, size: int, part_size: int) -> None:
        """See `Objects.begin`."""
        await self._database.write_durably(begin, upload, size, part_size)

    async def claim(
        self, upload: str, path: str, on_conflict: OnConflict, taken: Collection[str] = ()
    ) -> str:
        """See `Objects.claim`."""
        return await self._database.write_durably(claim, upload, path, on_conflict, taken)

    async def claim_whole(self, claims: Sequence[Claim]) -> Sequence[str | NameTakenError]:
        """See `Objects.claim_whole`."""
        return await self._database.write_durably(claim_whole, claims)

    async def created(self, upload: str, multipart: str) -> None:
        """See `Objects.created`."""
        await self._database.write_apart(created, upload, multipart)

    async def add_part(self, upload: str, part: Part) -> Tail | None:
        """See `Objects.add_part`."""
        return await self._database.write_apart(add_part, upload, part)

    async def set_tail(self, upload: str, tail: Tail) -> Tail | None:
        """See `Objects.set_tail`."""
        return await self._database.write_apart(set_tail, upload, tail)

    async def completing(self, upload: str) -> None:
        """See `Objects.completing`."""
        await self._database.write_durably(completing, upload)

    async def doubt(self, upload: str, due: float) -> None:
        """See `Objects.doubt`."""
        await self._database.write_durably(doubt, upload, due)

    async def resume(self, upload: str) -> ObjectUpload | None:
        """See `Objects.resume`."""
        return await self._database.write_apart(resume, upload)

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
        while True:
            with self._database.reading(fenced=True) as connection:
                found = page(connection, after, _AT_ONCE)
            if not found:
                return
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


def _claim_one(connection: Connection, one: Claim) -> str | NameTakenError:
    try:
        name = _free_name(connection, one.upload, one.path, one.on_conflict, ())
    except NameTakenError as error:
        return error
    begin(connection, one.upload, one.size, one.size)
    values = name, one.on_conflict == "replace"
    _update(connection, "name = %s, replaces = %s, completing = TRUE", values, one.upload)
    return name


def _free_name(
    connection: Connection,
    upload: str,
    path: str,
    on_conflict: OnConflict,
    taken: Collection[str],
) -> str:
    """The name that an upload may claim. Raises NameTakenError."""
    has = naming.Holders(
        lambda name: name in taken or _exists(connection, _STORED, name, upload),
        lambda name: name in taken or _exists(connection, _TAKEN, name, upload),
        lambda name: _exists(connection, _CLAIMED_ALONE, name, upload),
        lambda name: _exists(connection, _UNSETTLED, name, upload),
    )
    return naming.free_name(path, on_conflict, has)


def _exists(connection: Connection, query: str, name: str, upload: str) -> bool:
    row = connection.execute(query, {"name": name, "upload": upload}).fetchone()
    return row is not None and bool(row[0])


def _update(connection: Connection, changes: str, values: Sequence[object], upload: str) -> None:
    """Change a row. Raises UnknownUploadError."""
    query = f"UPDATE objects SET {changes} WHERE upload = %s"  # noqa: S608  constant
    if not connection.execute(query, (*values, upload)).rowcount:
        raise _unknown()


def _tail(connection: Connection, upload: str) -> Tail | None:
    """The tail of an upload, if it has one; locks the upload. Raises UnknownUploadError."""
    row = connection.execute(
        f"SELECT {_TAIL} FROM objects WHERE upload = %s FOR UPDATE",  # noqa: S608  constant
        (upload,),
    ).fetchone()
    if row is None:
        raise _unknown()
    return None if row[0] is None else Tail(*row)


def _joined_end(connection: Connection, upload: str) -> int:
    row = connection.execute(_JOINED_END, (upload,)).fetchone()
    return int(row[0]) if row else 0


def _with_parts(connection: Connection, rows: Sequence[Sequence[Any]]) -> list[ObjectUpload]:
    """The uploads of rows of _SELECT."""
    parts: dict[str, list[Part]] = {row[0]: [] for row in rows}
    for upload, *part in connection.execute(_JOINED, (list(parts),)):
        parts[upload].append(Part(*part))
    return [_read(row, tuple(parts[row[0]])) for row in rows]


def _read(row: Sequence[Any], parts: tuple[Part, ...]) -> ObjectUpload:
    upload, size, part_size, name, multipart, completes, due, given_up, *tail_of = row
    tail = None if tail_of[0] is None else Tail(*tail_of)
    if tail is not None and tail.offset > parts_end(parts):
        tail = None  # a part before it was replaced by a shorter one
    return ObjectUpload(
        upload, size, part_size, name, multipart, completes, parts, tail, due, given_up
    )


def _unknown() -> UnknownUploadError:
    return UnknownUploadError("the upload is not in the ledger")
