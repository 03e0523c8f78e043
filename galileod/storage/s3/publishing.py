"""How long publishing a file may take: it cannot be cancelled, but the end of the daemon waits."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import trio

from galileod.shutdown import Interrupt

PUBLISH_SECONDS: Final = 600.0
"""Maximum seconds for publishing a file. Some stores copy all its parts meanwhile."""


class Publishing:
    """The files that are being published."""

    def __init__(self) -> None:
        self._scopes: set[trio.CancelScope] = set()
        self._latest = math.inf

    @contextmanager
    def bounded(self, lost: Interrupt) -> Iterator[None]:
        """A block that publishes a file, is not cancelled, and ends when its time is over.

        What was published must be reported. If it ends early, the ledger knows that the file may
        have been. It ends at once when the lease is `lost`: another node finds it out then.
        """
        deadline = min(trio.current_time() + PUBLISH_SECONDS, self._latest)
        with trio.CancelScope(shield=True, deadline=deadline) as scope:
            self._scopes.add(scope)
            lost.add(scope)
            try:
                yield
            finally:
                self._scopes.remove(scope)
                lost.remove(scope)

    def hurry(self, seconds: float) -> None:
        """End all blocks, also later ones, in at most so many seconds."""
        self._latest = min(self._latest, trio.current_time() + seconds)
        for scope in self._scopes:
            scope.deadline = min(scope.deadline, self._latest)
