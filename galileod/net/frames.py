"""Incoming WebSocket frames as bytes (RFC 6455, section 5.2), split into file data and the rest.

The WebSocket library copies a message several times, and delivers it only when it is complete. So
the frames are parsed here first. A frame whose header announces too much is refused before its
payload is read. The payload of a BINARY message is taken out: the library gets the same frame
empty. All other rules of the RFC are the library's to check: it gets a frame that violates one as
it came.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

from attrs import frozen

from galileod.masking import KEY, rotate_key

from .budget import DataBudget

TEXT_LIMIT: Final = 32 * 1024
"""Maximum bytes of a TEXT message, all frames together. A signal is a line of JSON."""

MAX_FRAGMENTS: Final = 4096
"""Maximum frames of a message, plus one for each `USUAL_FRAGMENT` bytes. The library holds an
object for each frame, even an empty one."""

USUAL_FRAGMENT: Final = 256
"""Bytes of a frame from a client that legitimately sends small frames."""

PART: Final = 2 * 1024 * 1024
"""Bytes of a BINARY message that are delivered before it is complete, unless the store prefers
another size (`part_size`)."""

SMALL_PIECE: Final = 16 * 1024
"""A piece of a message with fewer bytes is joined with the next one: for a message that arrives
byte by byte the list of pieces would take more memory than their content."""

_FINAL: Final = 0x80
_RESERVED: Final = 0x70
_OPCODE: Final = 0x0F
_CONTINUATION: Final = 0x0
_TEXT: Final = 0x1
_BINARY: Final = 0x2
_FIRST_CONTROL: Final = 0x8
_MASKED: Final = 0x80
_LENGTH: Final = 0x7F
_LENGTH_OF_LENGTH: Final = {126: 2, 127: 8}
_LEAST_LENGTH: Final = {126: 126, 127: 1 << 16}
"""The smallest length that may be written in each form: only the shortest form is legal."""

Unmask = Callable[[memoryview, bytes], bytes]
"""Removes the mask from data, given the four bytes of the key."""


class FrameTooLarge(Exception):  # noqa: N818  a verdict about the peer, not an error of ours
    """A frame header announces too much: with it, the message has `length` bytes.

    `clean` is what the library gets of the frames before it.
    """

    def __init__(self, *, text: bool, length: int, clean: bytes) -> None:
        super().__init__(f"a {'text' if text else 'binary'} message of {length} bytes")
        self.text = text
        self.length = length
        self.clean = clean


@frozen
class MessagePart:
    """The next bytes of a BINARY message that is not complete; the pieces are in order."""

    pieces: list[bytes]


@frozen
class BinaryMessage:
    """The end of a BINARY message: the bytes that were in no part, and facts of the whole message.

    `length` is the length of the whole message in bytes. `first_byte` and `last_byte` are the
    times, in seconds, at which these came.
    """

    pieces: list[bytes]
    length: int
    first_byte: float
    last_byte: float


class FrameSplitter:
    """Parses the bytes of the incoming direction of a connection, from the first frame on.

    Holds at most one frame header (14 bytes) and the payload of BINARY messages, which `budget`
    limits; `part_size` bytes of a message make a part. The owner empties `parts`, and takes the
    oldest of `messages` each time the library delivers a BINARY message.
    """

    def __init__(self, unmask: Unmask, budget: DataBudget, part_size: int = PART) -> None:
        self.budget = budget
        self.parts: deque[MessagePart] = deque()
        self.messages: deque[BinaryMessage] = deque()
        self._unmask = unmask
        self._part_size = part_size
        self._header = bytearray()
        self._payload_left = 0
        self._key = b""
        self._taken_out = False
        self._final = True
        self._in_text = False
        self._length = 0
        self._fragments = 0
        self._pieces: list[bytes] = []
        self._gathered = 0
        self._first_byte = 0.0

    @property
    def due(self) -> int:
        """Bytes of BINARY messages that may still come."""
        return max(0, self.budget.left) + (self._payload_left if self._taken_out else 0)

    def feed(self, data: bytes, now: float, frames: int) -> tuple[bytes, int]:
        """Parse the next bytes, which came at `now`, up to `frames` frame headers.

        Returns what the library gets, and how many of the bytes were parsed. Raises FrameTooLarge
        when a header announces too much; the splitter must not be fed after that.
        """
        passed, view, position = bytearray(), memoryview(data), 0
        while position < len(view) and (frames or self._payload_left):
            if self._payload_left:
                part = view[position : position + self._payload_left]
                self._payload_left -= len(part)
                position += len(part)
                if self._taken_out:
                    self._take_out(part)
                else:
                    passed += part
            else:
                self._header.append(view[position])
                position += 1
                if len(self._header) < self._header_length():
                    continue
                frames -= 1
                self._begin_frame(passed, now)
            if self._taken_out and not self._payload_left:
                self._end_frame(passed, now)
        return bytes(passed), position

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
            in_turn = opcode == (_BINARY if self._final else _CONTINUATION)
            self._begin_data(opcode, length, passed, now)
            self._final = bool(first & _FINAL)
            sound = second & _MASKED and not first & _RESERVED and length >= least
            self._taken_out = bool(in_turn and sound and not self._in_text)
        self._payload_left = length
        if self._taken_out:
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
        most = MAX_FRAGMENTS + self._length // USUAL_FRAGMENT
        if too_large or self._fragments > most:
            raise FrameTooLarge(text=self._in_text, length=self._length, clean=bytes(passed))

    def _take_out(self, part: memoryview) -> None:
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
        """Pass the frame on without its payload."""
        passed += bytes((self._header[0], _MASKED)) + self._header[-KEY:]
        self._header.clear()
        self._taken_out = False
        if self._final:
            message = BinaryMessage(self._gather(), self._length, self._first_byte, now)
            self.messages.append(message)

    def _gather(self) -> list[bytes]:
        pieces, self._pieces, self._gathered = self._pieces, [], 0
        return pieces
