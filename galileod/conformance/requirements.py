"""The requirements of docs/protocol.md: their numbers, and whether they are a MUST or a SHOULD."""

from collections.abc import Mapping
from typing import Final

from galileod.conformance.verdicts import Level

_SECTIONS: Final[Mapping[str, tuple[int, frozenset[int]]]] = {
    "S1": (10, frozenset({7, 8, 10})),
    "C1": (11, frozenset({11})),
    "S2": (6, frozenset()),
    "C2": (6, frozenset()),
    "S3": (7, frozenset()),
    "C3": (7, frozenset({6, 7})),
    "S4": (17, frozenset({13, 15, 16, 17})),
    "C4": (8, frozenset({8})),
    "S5": (6, frozenset({3, 5, 6})),
    "C5": (6, frozenset({4, 6})),
    "S6": (9, frozenset({9})),
    "C6": (10, frozenset({9, 10})),
    "S7": (8, frozenset()),
    "C7": (3, frozenset({2})),
    "S8": (25, frozenset({24})),
    "C8": (12, frozenset({5, 9, 10, 12})),
    "S9": (13, frozenset()),
    "C9": (11, frozenset()),
    "S10": (6, frozenset({6})),
    "C10": (5, frozenset()),
    "S11": (4, frozenset({2, 4})),
    "C11": (3, frozenset()),
}
"""For each role and section, how many requirements there are, and which of them are a SHOULD."""

LEVELS: Final[Mapping[str, Level]] = {
    f"{section}.{number}": Level.SHOULD if number in shoulds else Level.MUST
    for section, (count, shoulds) in _SECTIONS.items()
    for number in range(1, count + 1)
}
"""Each requirement on a server (S) or a client (C), with its level."""

SERVER_FRAMING: Final = "S6.5"
"""Violated by a server that sends a frame which RFC 6455 forbids."""
CLIENT_HANDSHAKE: Final = "C6.1"
"""Violated by a client whose handshake RFC 6455 forbids."""
CLIENT_FRAMING: Final = "C6.3"
"""Violated by a client that sends a frame which RFC 6455 forbids."""
