"""Which lines about failures are written, where somebody makes many of them on purpose.

Time passes from outside: whoever asks calls `turn` once a minute, or however long a bound is to
hold.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Final

from attrs import frozen

EACH: Final = 20
"""Failures of one kind from one source that are written before the next turn."""

IN_ALL: Final = 1000
"""Failures of all kinds and sources together that are."""

OURSELVES: Final = ""
"""The source of what no client caused, such as a configuration that was rejected: no flood from
elsewhere hides it."""

MAX_KINDS: Final = 1000
"""Kinds that are told apart; there are some dozens."""


@frozen
class Kind:
    """What is counted as one: the event, and the code or status that says which failure it is."""

    event: str
    code: str = ""


OTHER: Final = Kind("other")
"""Stands for all kinds beyond MAX_KINDS."""


class Flood:
    """Counts failures by kind and source, and says which of them are written.

    A source that floods is one address or network; what it begins is not written either, until the
    next turn. When IN_ALL lines were written, all but OURSELVES count as one that floods. Memory:
    one entry a line that was written, and one a kind.
    """

    def __init__(self) -> None:
        self._written: Counter[tuple[Kind, str]] = Counter()
        self._in_all = 0
        self._flooding: set[str] = set()
        self._suppressed: Counter[Kind] = Counter()

    def admits_failure(self, kind: Kind, source: str) -> bool:
        """Count a failure, and say whether it is written."""
        room = source == OURSELVES or self._in_all < IN_ALL
        if room and self._written[kind, source] < EACH:
            self._written[kind, source] += 1
            self._in_all += source != OURSELVES
            return True
        if self._in_all < IN_ALL:
            self._flooding.add(source)
        self._suppress(kind)
        return False

    def admits_beginning(self, kind: Kind, source: str) -> bool:
        """Whether it is written that `source` begins something, which may well come to nothing."""
        if self._in_all < IN_ALL and source not in self._flooding:
            return True
        self._suppress(kind)
        return False

    def turn(self) -> Mapping[Kind, int]:
        """Begin anew; gives how many lines of each kind were not written since the last turn."""
        suppressed = self._suppressed
        self._written, self._in_all = Counter(), 0
        self._flooding, self._suppressed = set(), Counter()
        return suppressed

    def _suppress(self, kind: Kind) -> None:
        known = kind in self._suppressed or len(self._suppressed) < MAX_KINDS
        self._suppressed[kind if known else OTHER] += 1
