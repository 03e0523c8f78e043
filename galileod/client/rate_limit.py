"""A limit on the rate of sending: a token bucket, and the waiting for it."""

from typing import Final

import trio

BURST: Final = 0.25
"""Seconds; after a pause the bytes for this time may be sent at once."""

LARGEST_PART: Final = 1024 * 1024
SMALLEST_PART: Final = 1024


class TokenBucket:
    """At most `rate` bytes a second on average, and `burst` bytes at once. Pure."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._ahead = burst / rate
        self._due = float("-inf")

    def take(self, length: int, now: float) -> float:
        """Reserve `length` bytes; returns the seconds to wait before they are sent.

        Callers wait in the order of their calls.
        """
        self._due = max(self._due, now - self._ahead) + length / self._rate
        return max(0.0, self._due - now)


class SharedPace:
    """One rate, in bytes a second, for all uploads that are given this object."""

    def __init__(self, rate: int) -> None:
        # Small parts keep the rate even and let parallel uploads take turns.
        self.part = max(SMALLEST_PART, min(LARGEST_PART, int(rate * BURST)))
        self._bucket = TokenBucket(rate, self.part)

    async def wait(self, length: int) -> None:
        """Return when `length` more bytes may be sent."""
        await trio.sleep(self._bucket.take(length, trio.current_time()))
