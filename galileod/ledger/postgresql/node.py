"""The lease of this process among the nodes, and the connection by which it is renewed."""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Final, TypeVar

import trio

from galileod.ledger.base import Clock, LedgerError, Recovery
from galileod.ledger.contents import RunningNode
from galileod.ledger.lease import Lease
from galileod.ledger.node import CLOCKS_APART, Me, Node
from galileod.ledger.unavailable import UnavailableError

from . import clocks, nodes, restart, schema, uploads
from .connection import Address, Connection, Line
from .database import Database

T = TypeVar("T")

RENEWAL_SECONDS: Final = 3
"""Maximum seconds of a statement that renews the lease, so that there is time for another one."""

CLOSING_SECONDS: Final = 2.0
"""Maximum seconds that `close` waits for a renewal."""

_BEGIN: Final = f"BEGIN; SET LOCAL statement_timeout = '{RENEWAL_SECONDS}s'"


class PostgresqlNode(Node):
    """The node `me`, whose fencing number all transactions of `database` check."""

    def __init__(
        self, database: Database, address: Address, me: Me, clock: Clock, boot: str
    ) -> None:
        """Get a lease. `clock` and `boot` are those of the ledger.

        Blocks; raises LedgerError, also if this node is refused.
        """
        self.name = me.name
        self.lease = Lease()
        self._me = me
        self._database = database
        self._clock = clock
        self._boot = boot
        self._given: int | None = None  # the last fencing number, if perhaps not for good
        database.hurried = self.lease.is_hurried
        self._line = Line(address, self.lease.is_hurried)
        self._limiter = trio.CapacityLimiter(1)
        self._line.open()
        try:
            self.lease.renewed(self._acquire())
        except BaseException:
            self._line.close(CLOSING_SECONDS)
            raise

    def close(self) -> None:
        """Give the lease back, when nothing is written any more. Blocks, for a bounded time."""
        try:
            if self.lease.is_valid():
                with self._line.transaction(_BEGIN) as connection:
                    nodes.give_back(connection, self._fence)
        except LedgerError:
            pass  # then the others wait until it is over
        finally:
            self._line.close(CLOSING_SECONDS)

    def now(self) -> float:
        """The time that is to be recorded, in seconds since the epoch.

        Others measure by it how long a file is stored or kept. So it is that of the database, as it
        was compared last, if this node's clock is behind.
        """
        behind = -self.ahead
        return self._clock() + (behind if behind > CLOCKS_APART else 0)

    async def renew(self) -> bool:
        """See `Node.renew`."""
        sent = self.lease.now()
        renewed = await self._run(self._renew)
        if renewed:
            self.lease.renewed(sent)
        return renewed

    async def begin_again(self) -> None:
        """See `Node.begin_again`."""
        self.lease.begin(await self._run(self._acquire))

    async def adopt(self) -> Collection[str]:
        """See `Node.adopt`. One that was begun while the lease was steady is undone if it is not.

        The database may have hung meanwhile, so that no other node could renew its lease.
        """
        return await self._database.write_durably(self._adopt, steady=self.lease.is_steady())

    def _adopt(self, connection: Connection, *, steady: bool) -> Collection[str]:
        adopted = nodes.adopt(connection, None if self._me.local else self._boot)
        if steady and not self.lease.is_steady():
            raise UnavailableError("the database has not answered for a while")
        return adopted

    async def declare(self, settings: Mapping[str, str]) -> Mapping[str, Mapping[str, str]]:
        """See `Node.declare`."""
        return await self._run(partial(self._declare, settings))

    def running_beside(self) -> Sequence[RunningNode]:
        """See `Node.running_beside`."""
        with self._database.reading(fenced=True) as connection:
            return nodes.running_beside(connection)

    def left(self) -> Collection[str]:
        """See `Node.left`."""
        with self._database.reading(fenced=True) as connection:
            return uploads.left(connection)

    def others(self) -> Collection[str]:
        """See `Node.others`."""
        with self._database.reading(fenced=True) as connection:
            return uploads.others(connection)

    def settle(self, published: Mapping[str, str], recovery: Recovery) -> None:
        """See `Node.settle`."""
        with self._database.transaction(durable=True) as connection:
            restart.settle(connection, None, published, recovery, self.now())

    async def _run(self, step: Callable[[], T]) -> T:
        return await trio.to_thread.run_sync(step, limiter=self._limiter)

    @property
    def _fence(self) -> int:
        return self._database.fence or 0

    def _renew(self) -> bool:
        with self._line.transaction(_BEGIN) as connection:
            renewed = nodes.renew(connection, self._fence)
            self._compare(connection)
            later = None if renewed else nodes.successor(connection, self._me, self._fence)
            self.taken_on = None if later is None else later.host
            return renewed

    def _compare(self, connection: Connection) -> None:
        """Compare the clocks."""
        ahead = clocks.ahead(connection, self._clock)
        if ahead is not None:
            self.ahead = ahead

    def _declare(self, settings: Mapping[str, str]) -> Mapping[str, Mapping[str, str]]:
        with self._line.transaction(_BEGIN) as connection:
            nodes.declare(connection, self._fence, settings)
        # Of two nodes that declare at the same time, the later one sees the other.
        with self._line.transaction(_BEGIN) as connection:
            return nodes.declared(connection, self._fence)

    def _acquire(self) -> float:
        """Get a lease, which is counted from the time that is returned."""
        sent = self.lease.now()
        with self._database.transaction(durable=True, fenced=False) as connection:
            schema.read_version(connection)  # a newer node may have changed the tables meanwhile
            fence = nodes.acquire(connection, self._me, len(schema.MIGRATIONS), self._given)
            self._given = fence  # the answer to COMMIT may get lost
            self._compare(connection)
        self._database.fence = fence
        return sent
