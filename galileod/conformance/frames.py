"""Frames of RFC 6455: bytes to events and back. No I/O.

The encoder writes whatever it is told, valid or not. The decoder names each violation and goes on
where it can, since a peer with one mistake is judged for the rest too.
"""

import struct
from collections.abc import Iterator
from typing import Final

import attrs
from websockets.frames import CTRL_OPCODES, EXTERNAL_CLOSE_CODES, Opcode

from galileod.conformance.events import Close, Message, Ping, Pong, Violation

MAX_MESSAGE: Final = 64 * 1024 * 1024
"""Bytes of the largest message that is received."""
MAX_VIOLATIONS: Final = 100
"""Violations after which everything is dropped: each pair of bytes may be another one."""
MAX_CONTROL: Final = 125
"""Bytes of the largest payload of a control frame."""

_LENGTH_16: Final = 126
_LENGTH_64: Final = 127
_REGISTERED_CODES: Final = range(3000, 5000)

Received = Message | Ping | Pong | Close | Violation


def apply_mask(data: bytes, mask: bytes) -> bytes:
    """`data` XOR the repeated four bytes of `mask`."""
    repeated = (mask * (len(data) // 4 + 1))[: len(data)]
    number = int.from_bytes(data, "little") ^ int.from_bytes(repeated, "little")
    return number.to_bytes(len(data), "little")


def encode(opcode: int, payload: bytes, *, fin: bool, rsv: int, mask: bytes | None) -> bytes:
    """A frame with its length in the shortest form; `rsv` has the three bits, RSV1 as 4."""
    first = (0x80 if fin else 0) | (rsv & 7) << 4 | (opcode & 15)
    bit = 0 if mask is None else 0x80
    size = len(payload)
    if size < _LENGTH_16:
        head = struct.pack("!BB", first, bit | size)
    elif size < 1 << 16:
        head = struct.pack("!BBH", first, bit | _LENGTH_16, size)
    else:
        head = struct.pack("!BBQ", first, bit | _LENGTH_64, size)
    return head + payload if mask is None else head + mask + apply_mask(payload, mask)


@attrs.frozen
class Frame:
    """A frame as it came, unmasked."""

    opcode: int
    payload: bytes
    fin: bool
    rsv: int
    masked: bool
    minimal: bool
    """Whether its length was written in the shortest form."""

    def __str__(self) -> str:
        name = Opcode(self.opcode).name if self.opcode in set(Opcode) else f"opcode {self.opcode}"
        return name + ("" if self.fin else " (not the last fragment)")


@attrs.define
class Decoder:
    """The frames of one direction."""

    masked: bool
    """Whether this direction must be masked: what a client sends must be, a server's must not."""
    _buffer: bytearray = attrs.field(factory=bytearray, init=False)
    _fragments: bytearray = attrs.field(factory=bytearray, init=False)
    _opcode: int | None = attrs.field(default=None, init=False)
    _violations: int = attrs.field(default=0, init=False)
    _broken: bool = attrs.field(default=False, init=False)

    def feed(self, data: bytes) -> Iterator[tuple[Frame | None, Received | None]]:
        """Take bytes; yield each frame that is complete now, and what it means.

        The frame is None for a violation that is seen before the frame is complete, and the
        meaning is None for a fragment. A frame is yielded once more for each mistake. After a frame
        that is too long, and after MAX_VIOLATIONS, everything is dropped.
        """
        if self._broken:
            return
        self._buffer += data
        while not self._broken:
            try:
                frame = self._next_frame()
            except ValueError as error:
                self._break_off()
                yield None, Violation(str(error))
                return
            if frame is None:
                return
            found: list[Received | None] = [*map(Violation, self._mistakes(frame))]
            found.append(self._meaning(frame))
            self._violations += sum(isinstance(event, Violation) for event in found)
            if self._violations > MAX_VIOLATIONS:
                self._break_off()
            for event in found:
                yield frame, event

    @property
    def within_frame(self) -> bool:
        """Whether a part of a frame has come, and not the rest."""
        return bool(self._buffer)

    def _break_off(self) -> None:
        self._broken = True
        self._buffer.clear()
        self._fragments.clear()

    def _next_frame(self) -> Frame | None:
        buffer = self._buffer
        if len(buffer) < 2:  # noqa: PLR2004  # the bytes of the shortest head
            return None
        size, at, least = buffer[1] & 0x7F, 2, 0
        if size == _LENGTH_16:
            size, at, least = int.from_bytes(buffer[2:4]), 4, _LENGTH_16
        elif size == _LENGTH_64:
            size, at, least = int.from_bytes(buffer[2:10]), 10, 1 << 16
        masked = bool(buffer[1] & 0x80)
        if len(buffer) < at:
            return None
        if size > MAX_MESSAGE - len(self._fragments):
            raise ValueError(f"a message of more than {MAX_MESSAGE} bytes came")
        mask = bytes(buffer[at : at + 4]) if masked else None
        at += 4 if masked else 0
        if len(buffer) < at + size:
            return None
        payload = bytes(memoryview(buffer)[at : at + size])
        frame = Frame(
            opcode=buffer[0] & 15,
            payload=payload if mask is None else apply_mask(payload, mask),
            fin=bool(buffer[0] & 0x80),
            rsv=buffer[0] >> 4 & 7,
            masked=masked,
            minimal=size >= least,
        )
        del buffer[: at + size]
        return frame

    def _mistakes(self, frame: Frame) -> Iterator[str]:
        if frame.masked != self.masked:
            yield f"a frame came {'masked' if frame.masked else 'unmasked'}: {frame}"
        if frame.rsv:
            yield f"a frame came with reserved bits {frame.rsv:03b}: {frame}"
        if not frame.minimal:
            yield f"a frame came whose length is not in the shortest form: {frame}"
        if frame.opcode in CTRL_OPCODES and not frame.fin:
            yield f"a fragmented control frame came: {frame}"
        if frame.opcode in CTRL_OPCODES and len(frame.payload) > MAX_CONTROL:
            yield f"a control frame of {len(frame.payload)} bytes came: {frame}"

    def _meaning(self, frame: Frame) -> Received | None:
        match frame.opcode:
            case Opcode.PING:
                return Ping(frame.payload)
            case Opcode.PONG:
                return Pong(frame.payload)
            case Opcode.CLOSE:
                return _close(frame.payload)
            case Opcode.TEXT | Opcode.BINARY | Opcode.CONT:
                return self._fragment(frame)
        return Violation(f"a frame came with the reserved {frame}")

    def _fragment(self, frame: Frame) -> Received | None:
        if frame.opcode == Opcode.CONT and self._opcode is None:
            return Violation("a continuation frame came where no message was begun")
        if frame.opcode != Opcode.CONT and self._opcode is not None:
            self._opcode = frame.opcode
            self._fragments = bytearray(frame.payload)
            return Violation("a message was begun before the last one had ended")
        if frame.opcode != Opcode.CONT:
            self._opcode = frame.opcode
        self._fragments += frame.payload
        if not frame.fin or self._opcode is None:
            return None
        opcode, data = self._opcode, bytes(self._fragments)
        self._opcode = None
        self._fragments = bytearray()
        if opcode == Opcode.TEXT:
            try:
                data.decode("utf-8")
            except UnicodeDecodeError as error:
                return Violation(f"a TEXT message came that is not UTF-8: {error.reason}")
        return Message(opcode, data)


def _close(payload: bytes) -> Close | Violation:
    if not payload:
        return Close(None, "")
    if len(payload) == 1:
        return Violation("a Close frame of one byte came")
    code = int.from_bytes(payload[:2])
    if code not in EXTERNAL_CLOSE_CODES and code not in _REGISTERED_CODES:
        return Violation(f"a Close frame came with the code {code}, which is not for the wire")
    try:
        return Close(code, payload[2:].decode("utf-8"))
    except UnicodeDecodeError:
        return Violation("a Close frame came with a reason that is not UTF-8")
