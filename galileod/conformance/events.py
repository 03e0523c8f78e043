"""What a WebSocket connection can receive."""

import attrs


@attrs.frozen
class Message:
    """A whole message."""

    opcode: int
    """Opcode.TEXT or Opcode.BINARY."""
    data: bytes


@attrs.frozen
class Ping:
    """A Ping frame."""

    data: bytes


@attrs.frozen
class Pong:
    """A Pong frame."""

    data: bytes


@attrs.frozen
class Close:
    """A Close frame."""

    code: int | None
    reason: str


@attrs.frozen
class Violation:
    """A frame or message that RFC 6455 forbids."""

    sentence: str


@attrs.frozen
class Ended:
    """The peer has closed the connection, or reset it. Nothing follows."""

    reset: bool


@attrs.frozen
class Nothing:
    """Nothing came within the time."""

    seconds: float


Event = Message | Ping | Pong | Close | Violation | Ended | Nothing
