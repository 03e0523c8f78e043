"""Parses incoming WebSocket frames (RFC 6455, section 5.2) into messages.

trio-websocket copies a message several times, and takes a hundred times as long for a short one as
this module. Therefore it gets only what is not plain. Plain are messages in one valid frame, and
valid control frames: they are taken here. The library assembles messages of several frames, and
judges every frame that violates the RFC, which it gets unchanged. The payload of BINARY frames is
file data: it is extracted here in any case, and the library gets the same frames without payload.

A frame whose header announces too many bytes is refused before its payload is read.
"""

from codecs import utf_8_decode
from collections import deque
from collections.abc import Callable
from typing import Final

from galileod.masking import KEY, rotate_key

from .budget import DataBudget
from .messages import BinaryMessage, Close, Item, MessagePart, Ping, Unjudged

__all__ = ["TEXT_LIMIT", "BinaryMessage", "FrameSplitter", "FrameTooLarge", "MessagePart"]

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

NO_CODE: Final = 1005
"""The close code of a Close frame without a code (RFC 6455, section 7.4.1)."""

_FINAL: Final = 0x80
_RESERVED: Final = 0x70
_OPCODE: Final = 0x0F
_CONTINUATION: Final = 0x0
_TEXT: Final = 0x1
_BINARY: Final = 0x2
_FIRST_CONTROL: Final = 0x8
_CLOSE: Final = 0x8
_PING: Final = 0x9
_PONG: Final = 0xA
_WHOLE_TEXT: Final = _FINAL | _TEXT
_WHOLE_BINARY: Final = _FINAL | _BINARY
_MASKED: Final = 0x80
_LENGTH: Final = 0x7F
_LENGTH_OF_LENGTH: Final = {126: 2, 127: 8}
_LEAST_LENGTH: Final = {126: 126, 127: 1 << 16}
"""The smallest length that may be encoded in 2 or 8 bytes: RFC 6455 requires the shortest form."""

_MEDIUM, _LONG = _LENGTH_OF_LENGTH
_LEAST_HEADER: Final = 2 + KEY
_MAX_CONTROL: Final = 125
_CODE: Final = 2
_CODES: Final = frozenset((1000, 1001, 1002, 1003, *range(1007, 1014), *range(3000, 5000)))
"""Codes that a peer may send (RFC 6455, section 7.4, and the registry of IANA). The library judges
all others."""

Unmask = Callable[[memoryview, bytes], bytes]
"""Unmasks data with the four bytes of the key; it masks as well."""


class FrameTooLarge(Exception):  # noqa: N818  a fault of the peer, not an error of the daemon
    """With this frame, its message exceeds a limit: it has too many bytes, or too many frames.

    `length` is the length of the message in bytes, this frame included. `text` says whether it is a
    TEXT message.
    """

    def __init__(self, *, text: bool, length: int) -> None:
        super().__init__(f"a {'text' if text else 'binary'} message of {length} bytes")
        self.text = text
        self.length = length


class FrameSplitter:
    """Parses the bytes that a peer sends after the handshake.

    Appends to `items`, in the order of arrival; the caller removes them. Buffers at most one frame
    header (14 bytes), and the payload of one frame: a control frame's, a TEXT frame's with at most
    TEXT_LIMIT bytes, or file data, which `budget` limits. Each `part_size` bytes of a BINARY
    message become a MessagePart. What follows a valid Close frame is ignored.
    """

    def __init__(self, unmask: Unmask, budget: DataBudget, part_size: int) -> None:
        self.budget = budget
        self.items: deque[Item] = deque()
        self._unmask = unmask
        self._part_size = part_size
        self._closed = False
        # The frame that is not complete.
        self._header = bytearray()
        self._payload_left = 0
        self._key = b""
        self._take: Callable[[memoryview], None] = self._pass_on
        self._collected = bytearray()
        # The message that is not complete.
        self._final = True
        self._in_text = False
        self._length = 0
        self._fragments = 0
        self._pieces: list[bytes] = []
        self._gathered = 0
        self._first_byte = 0.0
        # What the library gets with the next item.
        self._passed = bytearray()
        self._ends: list[BinaryMessage | None] = []

    @property
    def due(self) -> int:
        """Bytes of BINARY messages that may still arrive."""
        extracting = self._payload_left and self._take == self._extract
        return max(0, self.budget.left) + (self._payload_left if extracting else 0)

    def feed(self, data: bytes, now: float, frames: int, position: int = 0) -> int:
        """Parse `data` from `position` on, which arrived at `now`, up to `frames` frame headers.

        Returns the position up to which it was parsed. Raises FrameTooLarge if a frame exceeds a
        limit; `feed` must not be called after that.
        """
        view, end = memoryview(data), len(data)
        try:
            while position < end and (frames or self._payload_left):
                if self._closed:
                    return end
                if self._payload_left:
                    part = view[position : position + self._payload_left]
                    self._payload_left -= len(part)
                    position += len(part)
                    self._take(part)
                elif not self._header and (length := self._take_plain(data, view, position, now)):
                    frames -= 1
                    position += length
                    continue
                else:
                    self._header.append(data[position])
                    position += 1
                    if len(self._header) < self._header_length():
                        continue
                    frames -= 1
                    self._begin_frame(now)
                if not self._payload_left:
                    self._end_frame(now)
        finally:
            self._flush()
        return position

    def take_tail(self) -> list[bytes]:
        """Remove the bytes after the last part of a BINARY message that is not complete."""
        return self._gather()

    def _take_plain(self, data: bytes, view: memoryview, at: int, now: float) -> int:
        """Take the plain message that is at `at` as a whole; returns the length of its frame.

        Returns 0, and takes nothing, if there is none: the frame is then parsed step by step.
        """
        if at + _LEAST_HEADER > len(data) or not self._final:
            return 0
        first, second = data[at], data[at + 1]
        length, start = second & _LENGTH, at + 2 + KEY
        if length == _MEDIUM:
            start += 2
            length = int.from_bytes(data[at + 2 : at + 4])
        elif length == _LONG:
            start += 8
            length = int.from_bytes(data[at + 2 : at + 10])
        stop = start + length
        shortest = length >= _LEAST_LENGTH.get(second & _LENGTH, 0)
        if stop > len(data) or second < _MASKED or not shortest:
            return 0
        key = data[start - KEY : start]
        if first == _WHOLE_BINARY:
            if length > self.budget.left or length > self.budget.largest:
                return 0
            self.budget.begin(length)
            self._in_text = False
            pieces = [self._unmask(view[start:stop], key)] if length else []
            self._append(BinaryMessage(pieces, length, now, now))
        elif first == _WHOLE_TEXT and length <= TEXT_LIMIT:
            try:
                text = str(self._unmask(view[start:stop], key), "utf-8")
            except UnicodeDecodeError:
                return 0
            self._in_text = True
            self._append(text)
        else:
            return 0
        self._length, self._fragments = length, 1  # a continuation would belong to this message
        return stop - at

    def _header_length(self) -> int:
        if len(self._header) < 2:  # noqa: PLR2004  the two fixed bytes
            return 2
        mask = KEY if self._header[1] & _MASKED else 0
        return 2 + _LENGTH_OF_LENGTH.get(self._header[1] & _LENGTH, 0) + mask

    def _begin_frame(self, now: float) -> None:
        first, second = self._header[:2]
        length = second & _LENGTH
        least = _LEAST_LENGTH.get(length, 0)
        if extended := _LENGTH_OF_LENGTH.get(length, 0):
            length = int.from_bytes(self._header[2 : 2 + extended])
        opcode, final = first & _OPCODE, bool(first & _FINAL)
        valid = bool(second & _MASKED and not first & _RESERVED and length >= least)
        self._take = self._pass_on
        if opcode < _FIRST_CONTROL:
            begins = self._final
            self._begin_data(opcode, length, now)
            self._final = final
            if valid and opcode == (_BINARY if begins else _CONTINUATION) and not self._in_text:
                self._take = self._extract
            elif valid and opcode == _TEXT and begins and final:
                self._take = self._collect_text
        elif valid and final and opcode in {_CLOSE, _PING, _PONG} and length <= _MAX_CONTROL:
            self._take = self._collect
        self._payload_left = length
        if self._take == self._pass_on:
            self._passed += self._header
        else:
            self._key = bytes(self._header[-KEY:])

    def _begin_data(self, opcode: int, length: int, now: float) -> None:
        """Check the length of a data frame together with earlier frames of the message."""
        if opcode != _CONTINUATION:
            self._in_text = opcode == _TEXT
            self._length = self._fragments = 0
            self._first_byte = now
            self._gather()  # of a message whose end was not valid
        self._length += length
        self._fragments += 1
        if self._in_text:
            too_large = self._length > TEXT_LIMIT
        else:
            too_large = self._length > self.budget.largest or length > self.budget.left
            self.budget.begin(length)
        max_fragments = MAX_FRAGMENTS + self._length // MIN_FRAGMENT
        if too_large or self._fragments > max_fragments:
            raise FrameTooLarge(text=self._in_text, length=self._length)

    def _end_frame(self, now: float) -> None:
        opcode = self._header[0] & _OPCODE
        if self._take == self._extract:
            self._end_data(opcode, now)
        elif self._take == self._collect_text:
            self._end_text()
        elif self._take == self._collect:
            self._end_control(opcode)
        elif opcode < _FIRST_CONTROL and self._final:
            self._ends.append(None)
        self._header.clear()
        self._collected.clear()

    def _pass_on(self, part: memoryview) -> None:
        self._passed += part

    def _extract(self, part: memoryview) -> None:
        piece = self._unmask_next(part)
        if self._pieces and len(self._pieces[-1]) < SMALL_PIECE:
            self._pieces[-1] += piece
        else:
            self._pieces.append(piece)
        self._gathered += len(piece)
        if self._gathered >= self._part_size and (self._payload_left or not self._final):
            self._append(MessagePart(self._gather()))

    def _end_data(self, opcode: int, now: float) -> None:
        message = None
        if self._final:
            message = BinaryMessage(self._gather(), self._length, self._first_byte, now)
            if opcode == _BINARY:
                self._append(message)
                return
            self._ends.append(message)
        self._passed += bytes((self._header[0], _MASKED)) + self._header[-KEY:]

    def _collect(self, part: memoryview) -> None:
        self._collected += self._unmask_next(part)

    def _collect_text(self, part: memoryview) -> None:
        self._collect(part)
        try:
            # Incomplete characters are possible only where the rest is still to come.
            utf_8_decode(self._collected, "strict", not self._payload_left)
        except UnicodeDecodeError:
            self._pass_frame()

    def _end_text(self) -> None:
        self._append(str(self._collected, "utf-8"))

    def _end_control(self, opcode: int) -> None:
        payload = bytes(self._collected)
        if opcode == _PING:
            self._append(Ping(payload))
        elif opcode == _CLOSE:
            code = _code_of(payload)
            if code is None:
                self._pass_frame()
            else:
                self._append(Close(payload, code))
                self._closed = True

    def _pass_frame(self) -> None:
        """Pass on what has arrived of the frame as it was sent."""
        self._take = self._pass_on
        masked = self._unmask(memoryview(self._collected), bytes(self._header[-KEY:]))
        self._passed += self._header + masked

    def _unmask_next(self, part: memoryview) -> bytes:
        data = self._unmask(part, self._key)
        self._key = rotate_key(self._key, len(part))
        return data

    def _append(self, item: Item) -> None:
        if self._passed:
            self._flush()
        self.items.append(item)

    def _flush(self) -> None:
        if self._passed:
            self.items.append(Unjudged(bytes(self._passed), self._ends))
            self._passed, self._ends = bytearray(), []

    def _gather(self) -> list[bytes]:
        pieces, self._pieces, self._gathered = self._pieces, [], 0
        return pieces


def _code_of(payload: bytes) -> int | None:
    """The code of a Close frame with this payload; None if the payload may not be valid."""
    if not payload:
        return NO_CODE
    code = int.from_bytes(payload[:_CODE])
    if len(payload) < _CODE or code not in _CODES:
        return None
    try:
        utf_8_decode(payload[_CODE:], "strict", True)
    except UnicodeDecodeError:
        return None
    return code
