"""`[auth]`: who may upload, and what proves it."""

from collections.abc import Iterator
from typing import Final, Literal, NewType, get_args

from attrs import field, frozen

from galileod.units import Violation

Algorithm = Literal["HS256", "EdDSA", "ES256"]
"""How tickets may be signed (RFC 7518, RFC 8037)."""

Mode = Literal["none", "token", "ticket"]

Modes = NewType("Modes", tuple[Mode, ...])
"""What a client may prove itself with; `none` alone where nobody has to."""

MODE_EXPECTED: Final = '"none", "token", "ticket" or ["token", "ticket"]'

DEFAULT_TOKENS: Final = "/etc/galileod.tokens"


@frozen
class TicketSettings:
    """`[auth.ticket]`: what tickets are checked with; all of it is needed for them."""

    algorithm: Algorithm | None = None
    key_file: str | None = None
    audience: str | None = None


@frozen
class Auth:
    """`[auth]`: `mode` None is not written at all, and then only this machine is let in."""

    mode: Modes | None = None
    tokens_file: str = DEFAULT_TOKENS
    ticket: TicketSettings = field(factory=TicketSettings)

    def takes(self, mode: Mode) -> bool:
        """Whether a client may prove itself so."""
        return mode in (self.mode or ())


def parse_modes(value: object) -> Modes:
    """Raises ValueError for what is no mode; the text says what is expected."""
    words = value if isinstance(value, list) else [value]
    modes: tuple[Mode, ...] = tuple(mode for mode in get_args(Mode) if mode in words)
    if not modes or len(modes) < len(words) or ("none" in modes and len(modes) > 1):
        raise ValueError(MODE_EXPECTED)
    return Modes(modes)


def format_modes(modes: Modes) -> str | list[str]:
    """As `parse_modes` reads it."""
    return modes[0] if len(modes) == 1 else list(modes)


def violations(auth: Auth) -> Iterator[Violation]:
    """Rules that go beyond a key's type."""
    if not auth.tokens_file or "\0" in auth.tokens_file:
        yield "auth.tokens_file", auth.tokens_file, "the path of a file"
    if auth.takes("ticket"):
        for name, expected in (
            ("algorithm", '"HS256", "EdDSA" or "ES256"'),
            ("key_file", "the path of the file with the secret or the public key"),
            ("audience", "a text that stands as `aud` in each ticket"),
        ):
            value = getattr(auth.ticket, name)
            if not value or "\0" in value:
                yield f"auth.ticket.{name}", value, f"{expected}, for tickets"
