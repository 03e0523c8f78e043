"""Parses incoming WebSocket frames (RFC 6455, section 5.2), and removes file data from them.

trio-websocket copies a message several times, and delivers it only when it is complete. Therefore
the frames are parsed here before it reads them. A frame whose header announces too many bytes is
rejected before its payload is read. The payload of BINARY messages is extracted, and the library
gets the same frames with empty payloads. The library checks all other rules of the RFC: a frame
that violates one is passed to it unchanged.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

from attrs import frozen

from galileod.masking import KEY, rotate_key

from .budget import DataBudget

TEXT_LIMIT: Final = 32 * 1024
"""Maximum bytes of a TEXT message, all frames together. A signal is a short JSON object."""

MAX_FRAGMENTS: Final = 4096
"""Maximum frames of a message, plus one for each `MIN_FRAGMENT` bytes. The library allocates an
object for each frame, even an empty one."""

MIN_FRAGMENT: Final = 256
"""Bytes that a message must have for each frame beyond MAX_FRAGMENTS."""

SMALL_PIECE: Final = 16 * 1024
"""A piece of a message with fewer bytes than this is joined with the next one. Otherwise the list
of pieces of a message that arrives byte by byte would take more memory than their content."""

_FINAL: Final = 0x80
_RESERVED: Final = 0x70
_OPCODE: Final = 0x0F
_CONTINUATION: Final = 0x0
_TEXT: Final = 0x1
_BINARY: Final = 0x2
_FIRST_CONTROL: Final = 0x8
_CLOSE: Final = 0x8
_MASKED: Final = 0x80
_LENGTH: Final = 0x7F
_LENGTH_OF_LENGTH: Final = {126: 2, 127: 8}
_LEAST_LENGTH: Final = {126: 126, 127: 1 << 16}
"""The smallest length that may be encoded in 2 or 8 bytes: RFC 6455 requires the shortest form."""

Unmask = Callable[[memoryview, bytes], bytes]
"""Unmasks data with the four bytes of the key."""


class FrameTooLarge(Exception):  # noqa: N818  a fault of the peer, not an error of the daemon
    """With this frame, its message exceeds a limit: it has too many bytes, or too many frames.

    `length` is the length of the message in bytes, this frame included. `text` says whether it is a
    TEXT message. `passed` are bytes of earlier frames, which must still be passed to the library.
    """

    def __init__(self, *, text: bool, length: int, passed: bytes) -> None:
        super().__init__(f"a {'text' if text else 'binary'} message of {length} bytes")
        self.text = text
        self.length = length
        self.passed = passed


@frozen
class MessagePart:
    """Consecutive bytes of a BINARY message that is not complete; the pieces are in order."""

    pieces: list[bytes]


@frozen
class BinaryMessage:
    """The end of a BINARY message: the bytes after its last part.

    `length` is the length of the whole message in bytes. `first_byte` and `last_byte` are the times
    at which its first and last byte arrived, in seconds of trio's clock.
    """

    pieces: list[bytes]
    length: int
    first_byte: float
    last_byte: float


class FrameSplitter:
    """Parses the bytes that a peer sends after the handshake.

    Buffers at most one frame header (14 bytes) and the payload of BINARY messages, which `budget`
    limits. Each `part_size` bytes of a message become a MessagePart. The caller removes the items
    of `parts`, and the first item of `messages` each time the library delivers a BINARY message.
    """

    def __init__(self, unmask: Unmask, budget: DataBudget, part_size: int) -> None:
        self.budget = budget
        self.parts: deque[MessagePart] = deque()
        self.messages: deque[BinaryMessage] = deque()
        self._unmask = unmask
        self._part_size = part_size
        self._header = bytearray()
        self._payload_left = 0
        self._key = b""
        self._extracting = False
        self._final = True
        self._closed = False
        self._in_text = False
        self._length = 0
        self._fragments = 0
        self._pieces: list[bytes] = []
        self._gathered = 0
        self._first_byte = 0.0

    @property
    def due(self) -> int:
        """Bytes of BINARY messages that may still arrive."""
        return max(0, self.budget.left) + (self._payload_left if self._extracting else 0)

    def feed(self, data: bytes, now: float, frames: int) -> tuple[bytes, int]:
        """Parse the next bytes, which arrived at `now`, up to `frames` frame headers.

        Returns the bytes for the library, and how many bytes of `data` were parsed. Raises
        FrameTooLarge if a frame exceeds a limit; `feed` must not be called after that.
        """
        passed, view, position = bytearray(), memoryview(data), 0
        while position < len(view) and (frames or self._payload_left):
            if self._payload_left:
                part = view[position : position + self._payload_left]
                self._payload_left -= len(part)
                position += len(part)
                if self._extracting:
                    self._extract(part)
                else:
                    passed += part
            else:
                self._header.append(view[position])
                position += 1
                if len(self._header) < self._header_length():
                    continue
                frames -= 1
                self._begin_frame(passed, now)
            if self._extracting and not self._payload_left:
                self._end_frame(passed, now)
        return bytes(passed), position

    def take_tail(self) -> list[bytes]:
        """Remove the bytes after the last part of a BINARY message that is not complete."""
        return self._gather()

    def _header_length(self) -> int:
        if len(self._header) < 2:  # noqa: PLR2004  the two fixed bytes
            return 2
        mask = KEY if self._header[1] & _MASKED else 0
        return 2 + _LENGTH_OF_LENGTH.get(self._header[1] & _LENGTH, 0) + mask

    def _begin_frame(self, passed: bytearray, now: float) -> None:
        first, second = self._header[:2]
        length = second & _LENGTH
        least = _LEAST_LENGTH.get(length, 0)
        if extended := _LENGTH_OF_LENGTH.get(length, 0):
            length = int.from_bytes(self._header[2 : 2 + extended])
        opcode = first & _OPCODE
        if opcode < _FIRST_CONTROL:
            in_sequence = opcode == (_BINARY if self._final else _CONTINUATION)
            self._begin_data(opcode, length, passed, now)
            self._final = bool(first & _FINAL)
            valid = second & _MASKED and not first & _RESERVED and length >= least
            usable = in_sequence and valid and not self._in_text
            self._extracting = bool(usable and not self._closed)
        elif opcode == _CLOSE:
            self._closed = True  # the library ignores all frames after it
        self._payload_left = length
        if self._extracting:
            self._key = bytes(self._header[-KEY:])
        else:
            passed += self._header
            self._header.clear()

    def _begin_data(self, opcode: int, length: int, passed: bytearray, now: float) -> None:
        """Check the length of a data frame together with earlier frames of the message."""
        if opcode != _CONTINUATION:
            self._in_text = opcode == _TEXT
            self._length = self._fragments = 0
            self._first_byte = now
        self._length += length
        self._fragments += 1
        if self._in_text:
            too_large = self._length > TEXT_LIMIT
        else:
            too_large = self._length > self.budget.largest or length > self.budget.left
            self.budget.begin(length)
        max_fragments = MAX_FRAGMENTS + self._length // MIN_FRAGMENT
        if too_large or self._fragments > max_fragments:
            raise FrameTooLarge(text=self._in_text, length=self._length, passed=bytes(passed))

    def _extract(self, part: memoryview) -> None:
        piece = self._unmask(part, self._key)
        self._key = rotate_key(self._key, len(part))
        if self._pieces and len(self._pieces[-1]) < SMALL_PIECE:
            self._pieces[-1] += piece
        else:
            self._pieces.append(piece)
        self._gathered += len(piece)
        if self._gathered >= self._part_size and (self._payload_left or not self._final):
            self.parts.append(MessagePart(self._gather()))

    def _end_frame(self, passed: bytearray, now: float) -> None:
        """Pass the frame to the library with an empty payload."""
        passed += bytes((self._header[0], _MASKED)) + self._header[-KEY:]
        self._header.clear()
        self._extracting = False
        if self._final:
            message = BinaryMessage(self._gather(), self._length, self._first_byte, now)
            self.messages.append(message)

    def _gather(self) -> list[bytes]:
        pieces, self._pieces, self._gathered = self._pieces, [], 0
        return pieces
