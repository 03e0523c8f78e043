"""WebSocket frames as bytes (RFC 6455, section 5.2): file data goes one way, the rest another.

The WebSocket library copies a message several times on its way, and shows it when it is whole. So
the bytes are walked here first. A frame is refused by its announced length, before its bytes are
held; and the payload of a BINARY message is taken out, so that the library sees the same frame with
nothing in it. Every rule of the RFC but the length stays with the library: a frame that breaks one
is handed to it as it came.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

from attrs import frozen

from galileod.masking import KEY, turned

TEXT_LIMIT: Final = 32 * 1024
"""Bytes in a TEXT message, in all its frames. A signal is a line of JSON."""

MAX_FRAGMENTS: Final = 4096
"""Frames in a message, beside one for each `USUAL_FRAGMENT` bytes. The library holds something for
each, even if it is empty."""

USUAL_FRAGMENT: Final = 256
"""Bytes in a frame of a message from a client that sends small frames and means no harm."""

PART: Final = 2 * 1024 * 1024
"""Bytes of a BINARY message that are passed on before it is whole, unless the store prefers another
size (`part_size`)."""

SMALL_PIECE: Final = 16 * 1024
"""Bytes below which a piece of a message is joined to the next: a message that trickles in would
cost more for the pieces than for what is in them."""

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
"""What a length must be to be written in that form: the shortest is the only legal one."""

Unmask = Callable[[memoryview, bytes], bytes]
"""Undoes the masking of data with a key of four bytes."""


class FrameTooLarge(Exception):  # noqa: N818  a verdict about the peer, not an error of ours
    """A message announces more than it may hold: `length` bytes, with what came of it before.

    `clean` is what the library is to see of the frames before it.
    """

    def __init__(self, *, text: bool, length: int, clean: bytes) -> None:
        super().__init__(f"a {'text' if text else 'binary'} message of {length} bytes")
        self.text = text
        self.length = length
        self.clean = clean


@frozen
class MessagePart:
    """The next bytes of a BINARY message of which more is to come; in pieces, in order."""

    pieces: list[bytes]


@frozen
class BinaryMessage:
    """The end of a BINARY message: the bytes that no part had, and what there is to say of it all.

    `length` is that of the whole message in bytes; its first and last came at the times that are
    given in seconds.
    """

    pieces: list[bytes]
    length: int
    first_byte: float
    last_byte: float


class FrameSplitter:
    """Walks the bytes of one direction of a connection, from the first frame on.

    Holds one frame header (14 bytes), and what it took out: of BINARY messages, which may hold only
    what `allow` granted. `part_size` bytes of a message make a part. The owner empties `parts`, and
    takes the oldest of `messages` each time that the library shows one.
    """

    def __init__(self, unmask: Unmask, part_size: int = PART) -> None:
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
        self._budget = 0
        self._begun = 0
        self._largest = 0
        self._pieces: list[bytes] = []
        self._gathered = 0
        self._first_byte = 0.0

    def allow(self, length: int) -> None:
        """One more BINARY message of at most `length` bytes may come."""
        self._budget += length
        self._largest = max(self._largest, length)

    def taken(self, length: int) -> None:
        """The owner has seen the whole of a BINARY message of `length` bytes."""
        self._begun -= length

    def settle(self, promised: int) -> None:
        """No more than `promised` bytes may come, with those of messages that were not `taken`.

        What a message left over of its length is not void before this says so.
        """
        self._budget = promised - self._begun

    @property
    def due(self) -> int:
        """Bytes of BINARY messages that may still come."""
        return max(0, self._budget) + (self._payload_left if self._taken_out else 0)

    def feed(self, data: bytes, now: float, frames: int) -> tuple[bytes, int]:
        """Walk over the next bytes, and no further than `frames` headers.

        Gives what the library is to see, and how many of the bytes were walked. Raises
        FrameTooLarge as soon as a header is too much. After that the splitter has done its work,
        and takes no more.
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
        """Judge the length of a data frame, together with those of the same message."""
        if opcode != _CONTINUATION:
            self._in_text = opcode == _TEXT
            self._length = self._fragments = 0
            self._first_byte = now
        self._length += length
        self._fragments += 1
        if self._in_text:
            too_large = self._length > TEXT_LIMIT
        else:
            too_large = self._length > self._largest or length > self._budget
            self._budget -= length
            self._begun += length
        most = MAX_FRAGMENTS + self._length // USUAL_FRAGMENT
        if too_large or self._fragments > most:
            raise FrameTooLarge(text=self._in_text, length=self._length, clean=bytes(passed))

    def _take_out(self, part: memoryview) -> None:
        piece = self._unmask(part, self._key)
        self._key = turned(self._key, len(part))
        if self._pieces and len(self._pieces[-1]) < SMALL_PIECE:
            self._pieces[-1] += piece
        else:
            self._pieces.append(piece)
        self._gathered += len(piece)
        if self._gathered >= self._part_size and (self._payload_left or not self._final):
            self.parts.append(MessagePart(self._gather()))

    def _end_frame(self, passed: bytearray, now: float) -> None:
        """Show the library the frame with nothing in it."""
        passed += bytes((self._header[0], _MASKED)) + self._header[-KEY:]
        self._header.clear()
        self._taken_out = False
        if self._final:
            message = BinaryMessage(self._gather(), self._length, self._first_byte, now)
            self.messages.append(message)

    def _gather(self) -> list[bytes]:
        pieces, self._pieces, self._gathered = self._pieces, [], 0
        return pieces
