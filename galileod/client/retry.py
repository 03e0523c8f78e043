"""Decides whether and when to retry. No I/O."""

from collections.abc import Callable
from typing import Final

from attrs import define, frozen

from .errors import ConnectError, LostError, NonsenseError, RefusedError, SendError, UpgradeError

MAX_WAIT: Final = 30.0
"""Maximum seconds between two attempts, unless the server asks for more."""

MAX_RETRY_AFTER: Final = 300.0
"""Maximum seconds that a server may ask for; for a longer wait there is no retry."""

RETRIES: Final = 7
"""Default number of retries. With a first delay of half a second they take 31 to 62 seconds, which
is enough for a restart of the server."""

UNREACHED: Final = 5.0
"""Seconds for which a run tries to connect if no connection was ever accepted: host or port may be
wrong."""

DOUBLINGS: Final = 16
"""Limits the exponent; MAX_WAIT is reached long before."""

_ANSWERS: Final = (ConnectError, LostError, RefusedError, NonsenseError)
"""The errors of a connection, which was accepted unless the error tells otherwise."""


@frozen
class RetryPolicy:
    """`retries` attempts after one that got on; the first wait is at most `delay` seconds.

    `connrefused`: they are made also if no connection was ever accepted; otherwise for UNREACHED
    seconds.
    """

    retries: int = RETRIES
    delay: float = 0.5
    connrefused: bool = False

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


@define
class Contact:
    """Applies a policy in one run, and knows whether a connection was `accepted` in it."""

    policy: RetryPolicy
    accepted: bool = False
    _began: float | None = None

    def begin(self, now: float) -> None:
        """An attempt to connect begins."""
        if self._began is None:
            self._began = now

    def wait(
        self,
        error: SendError,
        attempt: int,
        repeatable: bool,
        random: Callable[[], float],
        *,
        now: float,
    ) -> float | None:
        """As that of the policy, for an attempt that failed at the time `now`.

        A host name that is not found is final only if the server was not reached before: it may be
        that the network is away.
        """
        unreached = isinstance(error, ConnectError) and error.unreached
        if not unreached and isinstance(error, _ANSWERS):
            self.accepted = True
        limited = unreached and not (self.accepted or self.policy.connrefused)
        if unreached and not limited:
            error.transient = True
        wait = self.policy.wait(error, attempt, repeatable, random)
        if wait is None or not limited:
            return wait
        self.begin(now)
        left = (self._began or 0.0) + UNREACHED - now
        return min(wait, left) if left > 0 else None
