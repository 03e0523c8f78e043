"""Outages of the database: uploads that run outlast them, and the log tells of each once."""

import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

import structlog
import trio
from structlog.typing import FilteringBoundLogger

from . import lease
from .base import LedgerError, UncertainError
from .lease import Lease
from .unavailable import UnavailableError

T = TypeVar("T")

FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 4.0
"""Seconds before the next attempt: each pause is twice as long as the one before."""

REMIND_SECONDS: Final = 60.0
"""Minimum seconds between two lines that the database is away."""

_log: FilteringBoundLogger = structlog.get_logger()


async def outlast(held: Lease, step: Callable[[], Awaitable[T]]) -> T:
    """Carry out a step of an upload that runs: again while the database is away.

    So a step that is repeated must have the same effect: it may have taken effect although it has
    failed. Raises LeaseLostError if the lease that is `held` is lost meanwhile, and the error of
    the step after `lease.WAIT_SECONDS`, or once nobody is to wait any more.
    """
    end, pause = None, FIRST_PAUSE
    while True:
        try:
            return await step()
        except (UnavailableError, UncertainError):
            end = end or trio.current_time() + lease.WAIT_SECONDS
            if trio.current_time() + pause > end or not await held.pause(pause):
                raise
        pause = min(2 * pause, LONGEST_PAUSE)


def is_outage(error: BaseException) -> bool:
    """Whether the database is away, which is logged already: see Outages."""
    return isinstance(error, UnavailableError | UncertainError)


class Outages:
    """Logs each outage of a database: its beginning, a reminder each minute, and its end.

    So those who only try again later need not do that. `clock` returns seconds that never go
    backwards. Its methods may be called from any thread.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._since: float | None = None  # the beginning of the outage
        self._told = False  # the log has a line about it
        self._logged: float | None = None  # the time of the last one

    @contextmanager
    def watch(self) -> Iterator[None]:
        """A block that uses the database."""
        try:
            yield
        except (UnavailableError, UncertainError) as error:
            self._failed(error)
            raise
        if self._since is not None:
            self._worked()

    def _failed(self, error: LedgerError) -> None:
        now = self._clock()
        with self._lock:
            if self._since is None:
                self._since = now
            due = self._logged is None or now - self._logged >= REMIND_SECONDS
            if due:
                self._told, self._logged = True, now
            seconds = round(now - self._since)
        if due:
            _log.warning("ledger.away", reason=str(error), seconds=seconds)

    def _worked(self) -> None:
        with self._lock:
            since, told = self._since, self._told
            self._since, self._told = None, False
        if told and since is not None:
            _log.info("ledger.back", seconds=round(self._clock() - since, 3))
