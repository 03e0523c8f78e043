"""When to try the hook again: decisions, without a clock."""

from typing import Final

ATTEMPTS: Final = 44
"""Attempts at one delivery: with the waits between them about a day."""

LONGEST: Final = 3600.0
"""Seconds between two attempts at one delivery, at the most."""

PATIENCE: Final = 8
"""Failures in a row, of whatever deliveries, after which the hook itself is taken to be down."""

LONGEST_PAUSE: Final = 60.0
"""Seconds at the most until a hook that is down is looked at again."""

DOUBLINGS: Final = 16
"""After so many a wait has long been the longest."""


def wait(attempts: int, chance: float) -> float | None:
    """Seconds from the last of so many failed attempts to the next, or None to give up.

    Half of it is by `chance`, from 0 to 1, so that what failed together does not come back so.
    """
    if attempts >= ATTEMPTS:
        return None
    return min(LONGEST, float(1 << min(attempts - 1, DOUBLINGS))) * (0.5 + chance / 2)


def pause(failures: int) -> float:
    """Seconds in which no attempt begins, after so many failures in a row.

    While the hook is down, deliveries wait with their attempts unspent, however many they are.
    """
    if failures < PATIENCE:
        return 0.0
    return min(LONGEST_PAUSE, float(1 << min(failures - PATIENCE, DOUBLINGS)))
