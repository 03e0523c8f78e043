"""Shutdown in steps: no new uploads, then no uploads at all, then everything is cancelled."""

from collections.abc import Iterator
from contextlib import contextmanager

import trio


class Interrupt:
    """Cancels every block under `guard` when `fire` is called, and every later one at once."""

    def __init__(self) -> None:
        self._scopes: set[trio.CancelScope] = set()
        self.fired = False

    def fire(self) -> None:
        """Cancel all guarded blocks, present and future."""
        self.fired = True
        for scope in self._scopes:
            scope.cancel()

    @contextmanager
    def guard(self) -> Iterator[trio.CancelScope]:
        """Run a block that `fire` cancels; the scope's `cancelled_caught` tells whether it did."""
        with trio.CancelScope() as scope:
            if self.fired:
                scope.cancel()
            self._scopes.add(scope)
            try:
                yield scope
            finally:
                self._scopes.discard(scope)


class Shutdown:
    """The steps of shutdown, each an Interrupt that fires when the step begins."""

    def __init__(self) -> None:
        self.no_new_uploads = Interrupt()
        self.no_uploads = Interrupt()
        self.at_once = Interrupt()
