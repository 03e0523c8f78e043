"""Which folders have durable names."""

import threading
from typing import Final

MAX_KNOWN: Final = 10_000
"""Maximum paths that are remembered, of durable folders and of those that were created. At this
number all are forgotten."""


class DurableNames:
    """The paths of folders whose names survive a power failure. Safe to use from many threads.

    A folder may be removed and created anew while another thread makes the old one durable. So each
    path has a generation, which changes when a folder is created there. If other processes do that
    too (`shared`), nothing is remembered.
    """

    def __init__(self, *, shared: bool = False) -> None:
        self._shared = shared
        self._durable: set[str] = set()
        self._generations: dict[str, int] = {}
        self._number = self._others = 0  # the last generation, and that of all other paths
        self._changing = threading.Lock()

    def generation(self, path: str) -> int | None:
        """The generation of the path, asked for before it is opened; None if it is durable."""
        with self._changing:
            return None if path in self._durable else self._generations.get(path, self._others)

    def add(self, path: str, generation: int) -> None:
        """The folder that was opened when the path had this generation has a durable name."""
        with self._changing:
            if not self._shared and self._generations.get(path, self._others) == generation:
                self._bound()
                self._durable.add(path)

    def forget(self, path: str) -> int:
        """No folder is at the path, and one is about to be created; returns its generation."""
        with self._changing:
            self._bound()
            self._number += 1
            self._durable.discard(path)
            self._generations[path] = self._number
            return self._number

    def _bound(self) -> None:
        if len(self._durable) >= MAX_KNOWN:
            self._durable.clear()
        if len(self._generations) >= MAX_KNOWN:
            self._generations.clear()
            self._number = self._others = self._number + 1
