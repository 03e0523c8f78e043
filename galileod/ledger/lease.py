"""The lease of a node: until when it may write, by its own clock.

Nodes that share a ledger each have a lease in it, which they renew. One whose lease is over in the
database is taken for dead, and others end or continue its uploads. So a node must stop before that.
It cannot see the clock of the database, and does not know when its request arrives there. But a
lease that the database begins is not older than the request: counted from the moment at which that
was sent, and shortened by MARGIN, it is over here before it is over there.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Literal

import trio

from galileod.shutdown import Interrupt

from .base import LedgerError

LEASE_SECONDS: Final = 15.0
"""For how long a lease is given, by the clock of the database."""

MARGIN: Final = 5.0
"""Seconds by which the holder counts it shorter: for a clock that is slower than that of the
database, and for what it has begun to write when the lease runs out."""

RENEW_SECONDS: Final = 5.0
"""Seconds between two requests to renew it."""

WAIT_SECONDS: Final = 300.0
"""Maximum seconds that an upload waits until a lease that has run out is renewed, or until the
database is back."""

BEGIN_SECONDS: Final = 5.0
"""The same for an upload that begins: its client may try another node."""

State = Literal["valid", "run out", "lost"]


class LeaseLostError(LedgerError):
    """Another node may write what this one has begun: nothing more of it may be written here."""


class LeaseRunOutError(LedgerError):
    """The lease has run out, and the database does not renew it."""


def elapsed() -> float:
    """The seconds since the machine was started, also those in which it was suspended.

    trio's clock is no measure for a lease: that of the daemon leaves out the time in which the
    process was stopped.
    """
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Lease:
    """The lease of this process. A new one has run out until it is `renewed`.

    `lost` fires when it is lost. That is final until `begin`, which is to be called once nobody is
    `using` it any more. `clock` returns seconds that never go backwards. It may be called from any
    thread, and so may `is_valid`, `is_steady` and `is_hurried`; all else belongs to the event loop.
    """

    def __init__(self, clock: Callable[[], float] = elapsed) -> None:
        self.lost = Interrupt()
        self._clock = clock
        self._until = -1.0
        self._last = -math.inf  # when its last renewal was sent
        self._steady = math.inf  # since when it is renewed regularly
        self._users = 0
        self._hurried = False
        self._changed = trio.lowlevel.ParkingLot()

    @classmethod
    def endless(cls) -> "Lease":
        """The lease of a process that has its ledger alone."""
        lease = cls()
        lease.renewed(math.inf)
        return lease

    def is_valid(self) -> bool:
        """Whether this node may write now."""
        return self._clock() < self._until and not self.lost.fired

    def is_steady(self) -> bool:
        """Whether it was renewed regularly up to now, for as long as a lease lasts.

        Then others could renew theirs as well: one whose lease is over is dead. After an outage of
        the database, or of the way to it, the first one that is back must not take the others for
        dead.
        """
        now = self._clock()
        regular = now - self._last <= LEASE_SECONDS / 2 and now - self._steady >= LEASE_SECONDS
        return regular and not self.lost.fired

    def state(self) -> State:
        """Whether it may write, may write again later, or has to end all that it has begun."""
        if self.lost.fired:
            return "lost"
        return "valid" if self.is_valid() else "run out"

    def now(self) -> float:
        """The time by which it is measured: to be taken before a request to renew it is sent."""
        return self._clock()

    def renewed(self, sent: float) -> None:
        """The database has renewed it, by a request that was sent at the time `sent`."""
        self._until = max(self._until, sent + LEASE_SECONDS - MARGIN)
        if sent - self._last > LEASE_SECONDS / 2:
            self._steady = sent
        self._last = sent
        self._changed.unpark_all()

    def lose(self) -> None:
        """The database has given it to somebody else: it never becomes valid again."""
        self._until = -1.0
        self.lost.fire()
        self._changed.unpark_all()

    def begin(self, sent: float) -> None:
        """The database has given this process another lease, as in `renewed`."""
        self.lost = Interrupt()
        self.renewed(sent)

    async def wait_valid(self, seconds: float | None = None) -> None:
        """Return at once if this node may write now; else wait until it may.

        Raises LeaseLostError, and LeaseRunOutError after so many seconds, by default WAIT_SECONDS,
        or once nobody is to wait.
        """
        if self.is_valid():
            return
        with trio.move_on_after(WAIT_SECONDS if seconds is None else seconds):
            while not self.is_valid():
                self._check_lost()
                if self._hurried:
                    break
                await self._changed.park()
            else:
                return
        raise LeaseRunOutError("the database does not renew the lease of this server")

    async def pause(self, seconds: float) -> bool:
        """Wait for so many seconds, or until it is renewed; False at once if nobody is to wait.

        Raises LeaseLostError.
        """
        with trio.move_on_after(seconds):
            if not self._hurried and not self.lost.fired:
                await self._changed.park()
        self._check_lost()
        return not self._hurried

    def is_hurried(self) -> bool:
        """Whether nobody is to wait any more."""
        return self._hurried

    def hurry(self) -> None:
        """Nobody is to wait any more, from now on: the daemon ends."""
        self._hurried = True
        self._changed.unpark_all()

    @contextmanager
    def using(self) -> Iterator[None]:
        """A block that writes, and that ends before the lease `begin`s again after it was lost.

        Raises LeaseLostError if it is lost already.
        """
        self._check_lost()
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            self._changed.unpark_all()

    async def wait_unused(self) -> None:
        """Wait until all blocks `using` it have ended."""
        while self._users:
            await self._changed.park()

    def _check_lost(self) -> None:
        if self.lost.fired:
            raise LeaseLostError("another node has taken over the uploads of this one")
