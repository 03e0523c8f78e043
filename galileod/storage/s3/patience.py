"""How long a publication waits for an object storage that fails for a moment."""

from typing import Final

import trio

from galileod.storage.errors import StorageError

from .client import Head
from .shared import Shared

PATIENCE_SECONDS: Final = 60.0
"""Maximum seconds from the first failure on until the last attempt is begun."""

MOST_ATTEMPTS: Final = 4
"""How often a request whose outcome is uncertain is sent, if there is no object after each."""

FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 8.0
"""Seconds before the next attempt: each pause is twice as long as the one before."""


class Patience:
    """The time that one publication has, with all of its requests."""

    def __init__(self) -> None:
        self._end: float | None = None
        self._pause = FIRST_PAUSE
        self._attempts = 1

    async def wait(self) -> bool:
        """Wait before the next attempt; False at once if there is no time for one."""
        now = trio.current_time()
        if self._end is None:
            self._end = now + PATIENCE_SECONDS
        if now + self._pause > self._end:
            return False
        await trio.sleep(self._pause)
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
        return True

    def again(self) -> bool:
        """Count an attempt whose outcome was uncertain; False if it was the last one."""
        self._attempts += 1
        return self._attempts <= MOST_ATTEMPTS

    async def head(self, shared: Shared, name: str) -> Head | None:
        """What the store knows of a file, once it answers. Raises StorageError if it does not."""
        while True:
            try:
                return await shared.head(name, shared.threads.lookers)
            except StorageError:
                if not await self.wait():
                    raise
