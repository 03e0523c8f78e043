"""Shutdown in three steps: no new uploads, no uploads, and the cancellation of everything."""

from collections.abc import Iterator
from contextlib import contextmanager

import trio


class Interrupt:
    """Cancels all blocks under `guard` when `fire` is called; later ones are cancelled at once."""

    def __init__(self) -> None:
        self._scopes: set[trio.CancelScope] = set()
        self.fired = False

    def fire(self) -> None:
        """Cancel all current and later blocks under `guard`."""
        self.fired = True
        for scope in self._scopes:
            scope.cancel()

    @contextmanager
    def guard(self) -> Iterator[trio.CancelScope]:
        """Run a block that `fire` cancels; `cancelled_caught` of the scope says if it has."""
        with trio.CancelScope() as scope:
            self.add(scope)
            try:
                yield scope
            finally:
                self.remove(scope)

    def add(self, scope: trio.CancelScope) -> None:
        """Cancel `scope` when this fires, until `remove` is called."""
        if self.fired:
            scope.cancel()
        self._scopes.add(scope)

    def remove(self, scope: trio.CancelScope) -> None:
        """Undo `add`."""
        self._scopes.discard(scope)


class Shutdown:
    """The steps of the shutdown. Each is an Interrupt that fires when the step begins."""

    def __init__(self) -> None:
        self.no_new_uploads = Interrupt()
        self.no_uploads = Interrupt()
        self.at_once = Interrupt()
