"""The uploads that other nodes run, and the messages between nodes about them.

The table `asks` has the newest claim to each upload that runs at another node than the claim. What
PostgreSQL notifies is only a hint: nodes also look at the tables from time to time.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Final, LiteralString, TypeVar

import trio

from galileod.ledger.base import Clock, LedgerError
from galileod.ledger.elsewhere import (
    LISTEN_SECONDS,
    Answer,
    Asked,
    Discarding,
    Elsewhere,
    RunningThere,
)

from . import discards, uploads, whole
from .connection import Address, Connection, connect
from .database import Database
from .discards import answer
from .errors import translated
from .schema import ASKED, RELEASED

T = TypeVar("T")

FORGOTTEN_SECONDS: Final = 3600.0
"""Seconds after which a claim is forgotten whose node could not withdraw it. None waits so long."""

MOST_READS: Final = 64
"""Reads of messages at once, of some kilobytes each. So many more than nodes send come from others:
the connection is given up then, so that no time is spent on what is still to come, and made again
by the next `listen`."""

_ASK: Final = (
    "INSERT INTO asks VALUES (%s, %s, clock_timestamp() - make_interval(secs => %s))"
    " ON CONFLICT (key) DO UPDATE SET asker = excluded.asker, claimed = excluded.claimed"
    " WHERE asks.claimed < excluded.claimed"
)

_FORGET: Final = "DELETE FROM asks WHERE claimed < clock_timestamp() - make_interval(secs => %s)"

_TELL: Final = (
    f"SELECT pg_notify('{ASKED}', node) FROM uploads"  # noqa: S608  constant
    ' WHERE key = %s AND "offset" IS NULL AND node IS NOT NULL'
)

_WAITS: Final = "SELECT FROM asks WHERE key = %s AND asker = %s"

_WITHDRAW: Final = "DELETE FROM asks WHERE key = %s AND asker = %s"

_MINE: Final = (
    "SELECT upload, key, metadata, asker,"
    " extract(epoch FROM clock_timestamp() - claimed)::DOUBLE PRECISION"
    ' FROM asks JOIN uploads USING (key) WHERE "offset" IS NULL AND fence = %s'
)

_HOLD: Final = (
    "INSERT INTO held_names SELECT name, own_fence() FROM unnest(%s::TEXT[]) AS name"
    " ON CONFLICT (name) DO UPDATE SET fence = excluded.fence"
    " WHERE held_names.fence = excluded.fence"
)

_FORGET_HELD: Final = (
    "DELETE FROM held_names WHERE NOT EXISTS"
    " (SELECT FROM nodes WHERE nodes.fence = held_names.fence)"
)
"""What nodes have held that have lost their lease to others."""

_GIVE_BACK: Final = "DELETE FROM held_names WHERE name = ANY(%s) AND fence = own_fence()"

_DROP: Final = 'DELETE FROM uploads WHERE upload = %s AND "offset" IS NULL AND fence = own_fence()'


class PostgresqlElsewhere(Elsewhere):
    """The other nodes of a ledger, over a connection of its own on which they are heard."""

    def __init__(self, database: Database, address: Address, clock: Clock) -> None:
        self._database = database
        self._address = address
        self._clock = clock
        self._connection: Connection | None = None
        self._closed = False
        self._holding = trio.Lock()
        self._returned = set[str]()  # names that are held no longer, but in the ledger

    def close(self) -> None:
        """Close the connection. Blocks."""
        self._closed = True
        self._drop()

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def ask(self, key: str, asker: str, age: Callable[[], float]) -> None:
        """See `Elsewhere.ask`."""
        # Under the lock, so that nodes that ask for several uploads cannot wait for each other.
        await self._database.write_durably(_ask, key, asker, age)

    async def look(self, key: str, asker: str) -> Answer:
        """See `Elsewhere.look`."""
        return await self._database.read(self._look, key, asker)

    async def withdraw(self, key: str, asker: str) -> None:
        """See `Elsewhere.withdraw`."""
        await self._database.write(_execute, _WITHDRAW, key, asker)

    async def asked(self) -> Sequence[Asked]:
        """See `Elsewhere.asked`."""
        return await self._database.read(_asked, self._database.fence)

    async def running_from(self, upload: str, count: int) -> Sequence[RunningThere]:
        """See `Elsewhere.running_from`."""
        return await self._database.read(discards.page, self._database.fence, upload, count)

    async def ask_to_discard(self, upload: str) -> RunningThere | None:
        """See `Elsewhere.ask_to_discard`."""
        return await self._database.write(discards.ask, self._database.fence, upload)

    async def look_at_discard(self, upload: str) -> Discarding:
        """See `Elsewhere.look_at_discard`."""
        return await self._database.read(discards.look, self._database.fence, upload)

    async def withdraw_discard(self, upload: str) -> None:
        """See `Elsewhere.withdraw_discard`."""
        await self._database.write(discards.withdraw, upload)

    async def to_discard(self) -> Sequence[str]:
        """See `Elsewhere.to_discard`."""
        return await self._database.read(discards.asked, self._database.fence)

    async def answer(self, upload: str, *, discards: bool) -> None:
        """See `Elsewhere.answer`. All that writes of an upload with the lock is in order."""
        await self._database.write(answer, upload, discards=discards)

    async def drop(self, upload: str) -> None:
        """See `Elsewhere.drop`."""
        await self._database.write_durably(_execute, _DROP, upload)

    async def listen(self) -> Collection[str]:
        """See `Elsewhere.listen`."""
        if self._returned:
            await self.give_back(())
        connection = self._connection
        if connection is None:
            connection = await _in_thread(self._connect)
        with trio.move_on_after(LISTEN_SECONDS):
            await trio.lowlevel.wait_readable(connection.fileno())
        try:
            return await _in_thread(lambda: _received(connection))
        except LedgerError:
            self._drop()
            raise

    async def promised(self, identities: Collection[str]) -> Collection[str]:
        """See `Elsewhere.promised`."""
        return await self._database.read(uploads.known, identities)

    async def hold(self, names: Collection[str]) -> bool:
        """See `Elsewhere.hold`."""
        async with self._holding:
            self._returned.difference_update(names)
            try:
                await self._database.write_durably(_hold, sorted(set(names)))
            except _HeldError:
                return False
        return True

    async def give_back(self, names: Collection[str]) -> None:
        """See `Elsewhere.give_back`."""
        async with self._holding:
            self._returned.update(names)
            try:
                await self._database.write(_execute, _GIVE_BACK, list(self._returned))
            except LedgerError:
                return  # `listen` tries it again
            self._returned.clear()

    def _look(self, connection: Connection, key: str, asker: str) -> Answer:
        found = whole.find(connection, key, self._clock(), self._database.fence)
        return Answer(found, connection.execute(_WAITS, (key, asker)).rowcount > 0)

    def _connect(self) -> Connection:
        connection = self._connection = connect(self._address)
        try:
            with translated():
                connection.execute(f"LISTEN {ASKED}; LISTEN {RELEASED}", prepare=False)
        except LedgerError:
            self._drop()
            raise
        if self._closed:  # meanwhile: nobody waits for this thread
            self._drop()
        return connection


class _HeldError(Exception):
    """Another node holds one of the names."""


def _hold(connection: Connection, names: Sequence[str]) -> None:
    connection.execute(_FORGET_HELD)
    if connection.execute(_HOLD, (names,)).rowcount < len(names):
        raise _HeldError  # which undoes it


def _ask(connection: Connection, key: str, asker: str, age: Callable[[], float]) -> None:
    connection.execute(_FORGET, (FORGOTTEN_SECONDS,))
    connection.execute(_ASK, (key, asker, age()))
    connection.execute(_TELL, (key,))


def _asked(connection: Connection, fence: int | None) -> Sequence[Asked]:
    return [Asked(*row) for row in connection.execute(_MINE, (fence,))]


def _execute(connection: Connection, statement: LiteralString, *values: object) -> None:
    connection.execute(statement, values)


def _received(connection: Connection) -> Collection[str]:
    heard = set[str]()
    for _ in range(MOST_READS):
        with translated():
            messages = list(connection.notifies(timeout=0))
        if not messages:
            return heard
        heard.update(each.payload for each in messages if each.channel == RELEASED)
    raise LedgerError("others send more messages in the database than nodes do")


async def _in_thread(step: Callable[[], T]) -> T:
    return await trio.to_thread.run_sync(step, abandon_on_cancel=True)
