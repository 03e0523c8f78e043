"""Which log lines about failures are written, so that clients cannot flood the log.

The limits hold for a period. The caller ends it with `end_period`, once a minute.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Final

from attrs import frozen

MAX_PER_SOURCE: Final = 20
"""Maximum failures of one kind from one source that are written in a period."""

MAX_TOTAL: Final = 1000
"""Maximum failures of all kinds and sources that are written in a period."""

NO_CLIENT: Final = ""
"""The source of failures that no client caused, such as a rejected configuration. MAX_TOTAL does
not apply to them."""

MAX_KINDS: Final = 1000
"""Maximum kinds that are counted separately; there are some dozens."""


@frozen
class Kind:
    """A kind of failure: the event, and its code or status."""

    event: str
    code: str = ""


OTHER: Final = Kind("other")
"""All kinds beyond MAX_KINDS."""


class Flood:
    """Counts failures by kind and source, and decides which are written.

    A source is an address or network. Once it exceeds a limit, the beginnings of its connections
    and uploads are not written either, until the period ends. Once MAX_TOTAL lines are written,
    this applies to every source but NO_CLIENT. Memory: an entry for each line written and each
    kind.
    """

    def __init__(self) -> None:
        self._written: Counter[tuple[Kind, str]] = Counter()
        self._total = 0
        self._flooding: set[str] = set()
        self._suppressed: Counter[Kind] = Counter()

    def admits_failure(self, kind: Kind, source: str) -> bool:
        """Count a failure; returns whether it is written."""
        room = source == NO_CLIENT or self._total < MAX_TOTAL
        if room and self._written[kind, source] < MAX_PER_SOURCE:
            self._written[kind, source] += 1
            self._total += source != NO_CLIENT
            return True
        if self._total < MAX_TOTAL:
            self._flooding.add(source)
        self._suppress(kind)
        return False

    def admits_beginning(self, kind: Kind, source: str) -> bool:
        """Whether the beginning of a connection or upload of `source` is written."""
        if self._total < MAX_TOTAL and source not in self._flooding:
            return True
        self._suppress(kind)
        return False

    def end_period(self) -> Mapping[Kind, int]:
        """End the period; returns the number of lines of each kind that were not written."""
        suppressed = self._suppressed
        self._written, self._total = Counter(), 0
        self._flooding, self._suppressed = set(), Counter()
        return suppressed

    def _suppress(self, kind: Kind) -> None:
        known = kind in self._suppressed or len(self._suppressed) < MAX_KINDS
        self._suppressed[kind if known else OTHER] += 1
