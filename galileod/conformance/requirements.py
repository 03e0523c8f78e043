"""The requirements of docs/protocol.md: their numbers, and whether they are a MUST or a SHOULD."""

from collections.abc import Mapping
from typing import Final

from galileod.conformance.verdicts import Level

LEVELS: Final[Mapping[str, Level]] = {
    "S3.1": Level.MUST,
    "S5.1": Level.MUST,
    "S6.1": Level.MUST,
    "C4.1": Level.MUST,
    "C4.2": Level.MUST,
    "C6.1": Level.MUST,
}
"""Each requirement on a server (S) or a client (C), with its level."""

SERVER_FRAMING: Final = "S6.1"
"""Violated by a server that sends a frame which RFC 6455 forbids."""
CLIENT_FRAMING: Final = "C6.1"
"""Violated by a client that sends a frame which RFC 6455 forbids."""
