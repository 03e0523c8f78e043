"""How many there may be at once of a kind: connections, in all and of an address."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


class Cap:
    """So many at once for each key."""

    def __init__(self) -> None:
        self._held: Counter[str] = Counter()

    def held(self, key: str) -> int:
        """How many there are now."""
        return self._held[key]

    @contextmanager
    def hold(self, key: str | None, limit: int) -> Iterator[bool]:
        """Count one more while it lasts, or say that there is no room. None is never counted."""
        if key is not None and self._held[key] >= limit:
            yield False
            return
        if key is not None:
            self._held[key] += 1
        try:
            yield True
        finally:
            if key is not None:
                self._held[key] -= 1
                if not self._held[key]:
                    del self._held[key]
