"""The delays between attempts to deliver a receipt to the hook."""

from typing import Final

ATTEMPTS: Final = 44
"""Maximum attempts at one delivery. With the delays between them they take about a day."""

LONGEST: Final = 3600.0
"""Maximum seconds between two attempts at one delivery."""

DOWN_AFTER: Final = 8
"""Consecutive failures, of any deliveries, after which the hook itself is considered down."""

LONGEST_PAUSE: Final = 60.0
"""Maximum seconds between two attempts at a hook that is down."""

DOUBLINGS: Final = 16
"""Maximum exponent: any delay has reached its maximum below this."""


def wait(attempts: int, chance: float) -> float | None:
    """Seconds from the last of `attempts` failed attempts to the next; None to give up.

    `chance` is a random number from 0 to 1. Half of the delay is multiplied by it, so that
    deliveries that failed at the same time are not attempted at the same time again.
    """
    if attempts >= ATTEMPTS:
        return None
    return min(LONGEST, float(1 << min(attempts - 1, DOUBLINGS))) * (0.5 + chance / 2)


def pause(failures: int) -> float:
    """Seconds for which no attempt begins, after `failures` consecutive failed ones.

    While a hook is down, at most `hooks.parallel` attempts begin after each pause, however many
    deliveries are due.
    """
    if failures < DOWN_AFTER:
        return 0.0
    return min(LONGEST_PAUSE, float(1 << min(failures - DOWN_AFTER, DOUBLINGS)))
