"""A database in use: its connections, transactions, and the threads in which they run.

There are two ways to write. Steps that decide by what others have written, the sums, the names or
the claims, run one after the other in all processes: their transactions begin with the lock of the
one row of `totals`, always the first lock, so that they wait for each other and never block each
other. Steps that concern the rows of one upload alone, whose caller nobody else is, need no such
lock, and do not wait for it.
"""

import queue
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Concatenate, Final, ParamSpec, Self, TypeVar

import trio

from galileod.ledger.base import Step, ignore_step
from galileod.ledger.grouping import ForMany, Grouping, Transact
from galileod.ledger.outage import Outages
from galileod.ledger.unavailable import UnavailableError

from . import rights, tables
from .connection import (
    SILENT_SECONDS,
    Address,
    Connection,
    Hurried,
    Line,
    apart,
    goes_on,
    unhurried,
)
from .room import check_limits, check_sessions, process_of
from .schema import check_version, migrate

A = TypeVar("A")
P = ParamSpec("P")
T = TypeVar("T")

READERS: Final = 2
"""Connections for reading; two more write."""

CLOSING_SECONDS: Final = 2.0
"""Maximum seconds that `close` waits for connections that are in use."""

_READ: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY"

_WRITE: Final = "BEGIN; SET LOCAL synchronous_commit = {level}"

_LOCK: Final = "; SELECT FROM totals FOR UPDATE"

_CHECK: Final = "; SELECT check_fence({fence}, {locks})"
"""Under the lock of `totals`, no other node changes the table of nodes. Else its row is locked."""


class Database:
    """Runs functions, the steps, that take a connection. All methods raise LedgerError.

    Steps that write and wait at the same time share a transaction. `fence` is the fencing number of
    this node, without which nothing is written, or None if there are no nodes. Once it is
    `hurried`, no step waits for long.
    """

    fence: int | None = None

    def __init__(self, address: Address) -> None:
        self.hurried: Hurried = unhurried
        self._lines = [Line(address, self._is_hurried) for _ in range(2 + READERS)]
        self._writer, self._apart, *readers = self._lines
        self._readers: queue.SimpleQueue[Line] = queue.SimpleQueue()
        for line in readers:
            self._readers.put(line)
        self._watch: Callable[[], AbstractContextManager[None]] = nullcontext  # of a daemon: logs
        self._reading = trio.CapacityLimiter(READERS)
        self._checking = trio.CapacityLimiter(1)
        self._grouping = _group(self.transaction)
        self._grouping_apart = _group(self._transaction_apart)

    @classmethod
    def open(cls, address: Address, step: Step = ignore_step) -> Self:
        """Make all connections, and bring the tables up to date. Blocks."""
        database = cls(address)
        with ExitStack() as failed:
            failed.callback(database.close)
            with database._writer.transaction("BEGIN") as connection:
                check_limits(connection)
                rights.check(connection)
            migrate(database._writer, step)
            for line in database._lines:
                line.open()
            check_sessions(list(map(_process_of, database._lines)))
            failed.pop_all()
        database._watch = Outages().watch
        return database

    @classmethod
    def open_read_only(cls, address: Address) -> Self:
        """Make a connection to read, and change nothing, not even the tables. Blocks."""
        database = cls(address)
        with ExitStack() as failed:
            failed.callback(database.close)
            with database.reading() as connection:
                check_version(connection)
            failed.pop_all()
        return database

    def close(self) -> None:
        """Close the connections. Blocks, for a bounded time."""
        end = time.monotonic() + CLOSING_SECONDS
        for line in self._lines:
            line.close(max(0.0, end - time.monotonic()))

    async def read(
        self, step: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a step that changes nothing, and sees one state of the database. May be cancelled."""

        def run() -> T:
            with self.reading() as connection:
                return step(connection, *args, **kwargs)

        return await trio.to_thread.run_sync(run, limiter=self._reading, abandon_on_cancel=True)

    async def write(
        self, step: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a step in a transaction, under the lock: all of it takes effect, or nothing.

        A crash of the server may undo it. See `Grouping.run`.
        """
        return await self._grouping.run(
            lambda connection: step(connection, *args, **kwargs), durable=False
        )

    async def write_durably(
        self, step: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """`write`; its effect survives a crash of the server, and what came before it does too."""
        return await self._grouping.run(
            lambda connection: step(connection, *args, **kwargs), durable=True
        )

    async def write_for(self, step: ForMany[Connection, A, T], items: Sequence[A]) -> Sequence[T]:
        """`write_durably` for some items, with those of others: see `Grouping.run_for`."""
        return await self._grouping.run_for(step, items, durable=True)

    async def write_apart(
        self, step: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """`write_durably` without the lock, for a step that changes rows of one upload alone.

        None of them is counted in the sums, and no other step of the upload runs meanwhile.
        """
        return await self._grouping_apart.run(
            lambda connection: step(connection, *args, **kwargs), durable=True
        )

    async def write_apart_for(
        self, step: ForMany[Connection, A, T], items: Sequence[A]
    ) -> Sequence[T]:
        """`write_apart` for some items, with those of others: see `Grouping.run_for`."""
        return await self._grouping_apart.run_for(step, items, durable=True)

    async def check(self) -> None:
        """Begin a transaction that writes, and end it: see whether all tables can be written.

        May be cancelled while the server hangs.
        """

        def run() -> None:
            with self.transaction() as connection:
                tables.check(connection)

        await trio.to_thread.run_sync(run, limiter=self._checking, abandon_on_cancel=True)

    @contextmanager
    def transaction(self, *, durable: bool = False, fenced: bool = True) -> Iterator[Connection]:
        """A transaction for the block, under the lock; rolled back if it raises. Blocks.

        Raises LeaseLostError if this node must not write any more, unless it is not `fenced`.
        """
        check = self._check(locks=False) if fenced else ""
        begin = _begin(durable=durable) + _LOCK + check
        with self._watch(), self._writer.transaction(begin) as connection:
            yield connection

    @contextmanager
    def reading(self, *, fenced: bool = False) -> Iterator[Connection]:
        """A transaction for a short block that changes nothing, and sees one state. Blocks.

        If it is `fenced`, it knows this node. Raises LeaseLostError then.
        """
        check = self._check(locks=False) if fenced else ""
        with self._watch(), self._reader() as line, line.transaction(_READ + check) as connection:
            yield connection

    @contextmanager
    def _reader(self) -> Iterator[Line]:
        try:
            line = self._readers.get(timeout=SILENT_SECONDS)
        except queue.Empty:
            raise UnavailableError("all connections to the database wait for it") from None
        try:
            yield line
        finally:
            self._readers.put(line)

    @contextmanager
    def _transaction_apart(self, *, durable: bool) -> Iterator[Connection]:
        check = self._check(locks=True)
        begin = _begin(durable=durable) + check
        with self._watch(), self._apart.transaction(begin) as connection:
            yield connection

    def _is_hurried(self) -> bool:
        return self.hurried()

    def _check(self, *, locks: bool) -> str:
        return "" if self.fence is None else _CHECK.format(fence=self.fence, locks=locks)


def _process_of(line: Line) -> int:
    with line.transaction("BEGIN") as connection:
        return process_of(connection)


def _begin(*, durable: bool) -> str:
    return _WRITE.format(level="on" if durable else "off")


def _group(transact: Transact[Connection]) -> Grouping[Connection]:
    limiter = trio.CapacityLimiter(1)

    async def in_thread(run: Callable[[], T]) -> T:
        return await trio.to_thread.run_sync(run, limiter=limiter)

    return Grouping(transact, apart, goes_on, in_thread)
