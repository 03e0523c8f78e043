"""When a delivery to the hook is attempted again."""

from typing import Final

ATTEMPTS: Final = 44
"""Maximum attempts at one delivery: with the delays between them about a day."""

LONGEST: Final = 3600.0
"""Maximum seconds between two attempts at one delivery."""

PATIENCE: Final = 8
"""Consecutive failures, of any deliveries, after which the hook itself is considered down."""

LONGEST_PAUSE: Final = 60.0
"""Maximum seconds between two attempts at a hook that is down."""

DOUBLINGS: Final = 16
"""Maximum exponent: the delay has reached its maximum before."""


def wait(attempts: int, chance: float) -> float | None:
    """Seconds from the last of `attempts` failed attempts to the next; None to give up.

    Half of the delay is multiplied by `chance` (0 to 1), which spreads deliveries that failed at
    the same time.
    """
    if attempts >= ATTEMPTS:
        return None
    return min(LONGEST, float(1 << min(attempts - 1, DOUBLINGS))) * (0.5 + chance / 2)


def pause(failures: int) -> float:
    """Seconds in which no attempt begins, after `failures` consecutive ones.

    So one attempt at a time is spent on a hook that is down, however many deliveries are due.
    """
    if failures < PATIENCE:
        return 0.0
    return min(LONGEST_PAUSE, float(1 << min(failures - PATIENCE, DOUBLINGS)))
