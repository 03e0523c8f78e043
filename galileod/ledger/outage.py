"""How uploads that run outlast an outage of the database."""

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import trio

from . import lease
from .base import UncertainError
from .lease import Lease
from .unavailable import UnavailableError

T = TypeVar("T")

FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 4.0
"""Seconds before the next attempt: each pause is twice as long as the one before."""


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
