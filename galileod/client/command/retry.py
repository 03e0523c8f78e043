"""Whether, and when, to try again: decisions, without a clock."""

from collections.abc import Callable
from typing import Final

from attrs import frozen

from galileod.client.errors import SendError, UpgradeError

LONGEST: Final = 30.0
"""Seconds between two attempts at the most, unless the server asks for more."""

MAX_ASKED: Final = 300.0
"""Seconds that a server may ask us to wait; one that asks for more is not tried again."""

RETRIES: Final = 7
"""By default: with half a second to begin with they last for 31 to 62 seconds, so that a server may
be started anew meanwhile."""

DOUBLINGS: Final = 16
"""After so many the wait has long been the longest."""


@frozen
class RetryPolicy:
    """`retries` attempts after the first; the first wait is `delay` seconds at the most."""

    retries: int = RETRIES
    delay: float = 0.5

    def wait(
        self, error: SendError, attempt: int, again: bool, random: Callable[[], float]
    ) -> float | None:
        """Seconds to wait after the failed `attempt` (1 is the first), or None to give up.

        `again`: whether the source can be read once more. `random` gives numbers from 0 to 1: half
        of each wait is by chance, so that many clients do not come back at the same moment.
        """
        if not (error.transient and again) or attempt > self.retries:
            return None
        doubled = 1 << min(attempt - 1, DOUBLINGS)
        longest = min(LONGEST, self.delay * doubled)
        wait = longest * (0.5 + random() / 2)
        asked = error.retry_after if isinstance(error, UpgradeError) else None
        if asked is None:
            return wait
        return None if asked > MAX_ASKED else max(wait, asked)
