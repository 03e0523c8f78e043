"""`[auth]`: the credentials that uploads require."""

from collections.abc import Iterator
from typing import Final, Literal, NewType, get_args

from attrs import field, frozen

from galileod.units import Violation

Algorithm = Literal["HS256", "EdDSA", "ES256"]
"""Signature algorithms of tickets (RFC 7518, RFC 8037)."""

Mode = Literal["none", "token", "ticket"]

Modes = NewType("Modes", tuple[Mode, ...])
"""The kinds of credentials that are accepted; only `none` if uploads need no credential."""

MODE_EXPECTED: Final = '"none", "token", "ticket" or ["token", "ticket"]'

DEFAULT_TOKENS: Final = "/etc/galileod.tokens"


@frozen
class TicketSettings:
    """`[auth.ticket]`: how tickets are verified. Mode "ticket" requires all three keys."""

    algorithm: Algorithm | None = None
    key_file: str | None = None
    audience: str | None = None


@frozen
class Auth:
    """`[auth]`. Without a `mode`, the daemon listens on loopback and unix sockets only."""

    mode: Modes | None = None
    tokens_file: str = DEFAULT_TOKENS
    ticket: TicketSettings = field(factory=TicketSettings)

    def accepts(self, mode: Mode) -> bool:
        """Whether credentials of this kind are accepted."""
        return mode in (self.mode or ())


def parse_modes(value: object) -> Modes:
    """Parse the value of `auth.mode`. Raises ValueError; its message says what is expected."""
    words = value if isinstance(value, list) else [value]
    modes: tuple[Mode, ...] = tuple(mode for mode in get_args(Mode) if mode in words)
    if not modes or len(modes) < len(words) or ("none" in modes and len(modes) > 1):
        raise ValueError(MODE_EXPECTED)
    return Modes(modes)


def format_modes(modes: Modes) -> str | list[str]:
    """The value of `auth.mode`, as `parse_modes` reads it."""
    return modes[0] if len(modes) == 1 else list(modes)


def violations(auth: Auth) -> Iterator[Violation]:
    """The values that have the right type but are not valid."""
    if not auth.tokens_file or "\0" in auth.tokens_file:
        yield "auth.tokens_file", auth.tokens_file, "the path of a file"
    if auth.accepts("ticket"):
        for name, expected in (
            ("algorithm", '"HS256", "EdDSA" or "ES256"'),
            ("key_file", "the path of a file with the secret or the public key"),
            ("audience", "a string that each ticket has as its `aud`"),
        ):
            value = getattr(auth.ticket, name)
            if not value or "\0" in value:
                yield f"auth.ticket.{name}", value, f'{expected}, since auth.mode has "ticket"'
