"""The modification time that a client states for its file: which values are believed."""

from typing import Final

MAX_AHEAD: Final = 86_400
"""Maximum seconds that it may be in the future: the clocks of client and server may differ."""


def believable(modified: int | None, now: float) -> int | None:
    """`modified`, in milliseconds since 1970, in nanoseconds; None if it is not believed.

    It is not before 1970, and at most MAX_AHEAD after `now`, which is in seconds since 1970.
    """
    if modified is None or not 0 <= modified <= (now + MAX_AHEAD) * 1000:
        return None
    return modified * 1_000_000
