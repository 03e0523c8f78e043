"""Shutdown in steps: first nothing new, then no uploads, then nothing at all."""

from collections.abc import Iterator
from contextlib import contextmanager

import trio


class Interrupt:
    """Breaks into whatever runs under `guard`, once `fire` is called; before that, or after it."""

    def __init__(self) -> None:
        self._scopes: set[trio.CancelScope] = set()
        self.fired = False

    def fire(self) -> None:
        """Break into all that is guarded now or will be."""
        self.fired = True
        for scope in self._scopes:
            scope.cancel()

    @contextmanager
    def guard(self) -> Iterator[trio.CancelScope]:
        """A scope whose `cancelled_caught` says, at its end, that it was broken into."""
        with trio.CancelScope() as scope:
            if self.fired:
                scope.cancel()
            self._scopes.add(scope)
            try:
                yield scope
            finally:
                self._scopes.discard(scope)


class Shutdown:
    """How far the daemon has come in shutdown."""

    def __init__(self) -> None:
        self.no_new_uploads = Interrupt()
        self.no_uploads = Interrupt()
        self.at_once = Interrupt()
