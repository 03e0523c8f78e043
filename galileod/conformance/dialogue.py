"""The rules of a dialogue between a client and a server. Pure: messages in, violations out."""

from typing import Literal

import attrs

from galileod.conformance.events import Message

Observed = Literal["server", "client", "both"]
Violations = list[tuple[str, str]]
"""Pairs of a requirement and a sentence that says what was expected and what came."""


@attrs.define
class Dialogue:
    """What has been said on one connection."""

    observed: Observed
    """The peer whose violations are returned."""
    content: bytes | None = None
    """The file that is sent, where it is known."""

    def server(self, message: Message) -> Violations:
        """The server has sent `message`."""
        del message
        return []

    def client(self, message: Message) -> Violations:
        """The client has sent `message`."""
        del message
        return []

    def ended(self) -> Violations:
        """The connection has ended."""
        return []
