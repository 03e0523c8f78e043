"""Decides whether and when to retry. No I/O."""

from collections.abc import Callable
from typing import Final

from attrs import frozen

from .errors import SendError, UpgradeError

MAX_WAIT: Final = 30.0
"""Maximum seconds between two attempts, unless the server asks for more."""

MAX_RETRY_AFTER: Final = 300.0
"""Maximum seconds that a server may ask for; for a longer wait there is no retry."""

RETRIES: Final = 7
"""Default number of retries. With a first delay of half a second they take 31 to 62 seconds, which
is enough for a restart of the server."""

DOUBLINGS: Final = 16
"""Limits the exponent; MAX_WAIT is reached long before."""


@frozen
class RetryPolicy:
    """`retries` attempts after one that got on; the first wait is at most `delay` seconds."""

    retries: int = RETRIES
    delay: float = 0.5

    def wait(
        self, error: SendError, attempt: int, repeatable: bool, random: Callable[[], float]
    ) -> float | None:
        """Seconds to wait after the failed `attempt` (from 1), or None for no retry.

        `repeatable`: whether the content can be read again. `random` gives numbers from 0 to 1:
        half of each wait is random, so that many clients do not retry at the same moment.
        """
        if not (error.transient and repeatable) or attempt > self.retries:
            return None
        factor = 1 << min(attempt - 1, DOUBLINGS)
        longest = min(MAX_WAIT, self.delay * factor)
        wait = longest * (0.5 + random() / 2)
        asked = error.retry_after if isinstance(error, UpgradeError) else None
        if asked is None:
            return wait
        return None if asked > MAX_RETRY_AFTER else max(wait, asked)
