"""Where WebSocket frames begin and how long they say they are (RFC 6455, section 5.2).

The WebSocket library shows a message when it is whole. To refuse a frame by its announced length,
before its bytes are held, the bytes are walked here first. Nothing is judged but the length:
every other rule of the RFC stays with the library.
"""

from typing import Final

TEXT_LIMIT: Final = 32 * 1024
"""Bytes in a TEXT message, in all its frames. A signal is a line of JSON."""

MAX_FRAGMENTS: Final = 4096
"""Frames in a message. The library holds something for each, even if it is empty."""

_OPCODE: Final = 0x0F
_CONTINUATION: Final = 0x0
_TEXT: Final = 0x1
_FIRST_CONTROL: Final = 0x8
_MASKED: Final = 0x80
_LENGTH: Final = 0x7F
_LENGTH_OF_LENGTH: Final = {126: 2, 127: 8}


class FrameTooLarge(Exception):  # noqa: N818  a verdict about the peer, not an error of ours
    """A message announces more than it may hold: `length` bytes, with what came of it before.

    `clean` bytes of what was fed stand before the frame that does so.
    """

    def __init__(self, *, text: bool, length: int, clean: int) -> None:
        super().__init__(f"a {'text' if text else 'binary'} message of {length} bytes")
        self.text = text
        self.length = length
        self.clean = clean


class FrameScanner:
    """Walks the bytes of one direction of a connection, from the first frame on.

    Holds at most one frame header (14 bytes). BINARY messages may hold only what `allow` granted.
    """

    def __init__(self) -> None:
        self._header = bytearray()
        self._payload_left = 0
        self._in_text = False
        self._message = 0
        self._fragments = 0
        self._budget = 0
        self._largest = 0

    def allow(self, length: int) -> None:
        """One more BINARY message of at most `length` bytes may come."""
        self._budget += length
        self._largest = max(self._largest, length)

    def feed(self, data: bytes | bytearray | memoryview, frames: int = 1 << 62) -> int:
        """Walk over the next bytes, and no further than `frames` headers; gives how far that is.

        Raises FrameTooLarge as soon as a header is too much. After that the scanner has done its
        work, and takes no more.
        """
        position = 0
        while position < len(data) and (frames or self._payload_left):
            if self._payload_left:
                step = min(self._payload_left, len(data) - position)
                self._payload_left -= step
                position += step
                continue
            self._header.append(data[position])
            position += 1
            if len(self._header) == self._header_length():
                clean = max(0, position - len(self._header))
                self._announce(clean)
                self._header.clear()
                frames -= 1
        return position

    def _header_length(self) -> int:
        if len(self._header) < 2:  # noqa: PLR2004  the two fixed bytes
            return 2
        mask = 4 if self._header[1] & _MASKED else 0
        return 2 + _LENGTH_OF_LENGTH.get(self._header[1] & _LENGTH, 0) + mask

    def _announce(self, clean: int) -> None:
        length = self._header[1] & _LENGTH
        extended = _LENGTH_OF_LENGTH.get(length, 0)
        if extended:
            length = int.from_bytes(self._header[2 : 2 + extended])
        self._payload_left = length
        opcode = self._header[0] & _OPCODE
        if opcode >= _FIRST_CONTROL:
            return
        if opcode != _CONTINUATION:
            self._in_text = opcode == _TEXT
            self._message = self._fragments = 0
        self._message += length
        self._fragments += 1
        if self._in_text:
            too_large = self._message > TEXT_LIMIT
        else:
            too_large = self._message > self._largest or length > self._budget
            self._budget -= length
        if too_large or self._fragments > MAX_FRAGMENTS:
            raise FrameTooLarge(text=self._in_text, length=self._message, clean=clean)
