"""What a peer has sent: messages, parts of messages, and frames that concern the connection."""

from attrs import define, frozen


@frozen
class MessagePart:
    """Consecutive bytes of a BINARY message that is not complete; the pieces are in order."""

    pieces: list[bytes]


@define  # one for each message: it is created in half the time that a frozen one takes
class BinaryMessage:
    """The end of a BINARY message: the bytes after its last part.

    `length` is the length of the whole message in bytes. `first_byte` and `last_byte` are the times
    at which its first and last byte arrived, in seconds of trio's clock.
    """

    pieces: list[bytes]
    length: int
    first_byte: float
    last_byte: float


Message = str | BinaryMessage | MessagePart
"""A received item: a TEXT message, the end of a BINARY message, or an earlier part of one."""


@frozen
class Ping:
    """A valid Ping; the Pong has the same payload."""

    payload: bytes


@frozen
class Close:
    """A valid Close frame; the answer has the same payload. 1005 is the code of an empty one."""

    payload: bytes
    code: int


@frozen
class Unjudged:
    """Frames that are not plain, for the library, with empty payloads where they have file data.

    `ends` has an entry for each message that ends in them: a BINARY message, or None for a TEXT
    message, whose text the library assembles.
    """

    frames: bytes
    ends: list[BinaryMessage | None]


Item = Message | Ping | Close | Unjudged
"""What `FrameSplitter` makes of the bytes of a peer."""
