"""Sending no faster than a rate: a token bucket, and the wait for it."""

from typing import Final

import trio

BURST: Final = 0.25
"""Seconds' worth of bytes that may go out at once after a pause."""

LARGEST_PART: Final = 1024 * 1024
SMALLEST_PART: Final = 1024


class TokenBucket:
    """`rate` bytes a second on the average; never more than a burst above it. Pure."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._ahead = burst / rate
        self._due = float("-inf")

    def take(self, length: int, now: float) -> float:
        """Take `length` bytes, and tell how many seconds to wait before they go out.

        Who takes waits in the order of taking: the time is reserved.
        """
        self._due = max(self._due, now - self._ahead) + length / self._rate
        return max(0.0, self._due - now)


class SharedPace:
    """One rate, in bytes a second, for all uploads that share this."""

    def __init__(self, rate: int) -> None:
        # Small parts keep the rate even, and leave uploads side by side their turns.
        self.part = max(SMALLEST_PART, min(LARGEST_PART, int(rate * BURST)))
        self._bucket = TokenBucket(rate, self.part)

    async def wait(self, length: int) -> None:
        """Return when `length` more bytes may go out."""
        await trio.sleep(self._bucket.take(length, trio.current_time()))
