"""Frames of WebSocket as a client sends them, made byte by byte (RFC 6455, 5.2)."""

import json
import struct
from typing import Final

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
MASK: Final = b"\x11\x22\x33\x44"


def frame_header(first: int, length: int, *, mask: bytes | None = MASK) -> bytes:
    """The header of a frame in its shortest form; `first` is the byte with FIN and opcode."""
    bit = 0 if mask is None else 0x80
    if length < 126:
        head = struct.pack("!BB", first, bit | length)
    elif length < 1 << 16:
        head = struct.pack("!BBH", first, bit | 126, length)
    else:
        head = struct.pack("!BBQ", first, bit | 127, length)
    return head + (mask or b"")


def frame(opcode: int, payload: bytes = b"", *, final: bool = True, reserved: int = 0) -> bytes:
    """A client's frame."""
    first = (0x80 if final else 0) | reserved | opcode
    pad = (MASK * (len(payload) // 4 + 1))[: len(payload)]
    masked = int.from_bytes(payload) ^ int.from_bytes(pad)
    return frame_header(first, len(payload)) + masked.to_bytes(len(payload))


def signal_frame(**signal: object) -> bytes:
    return frame(TEXT, json.dumps(signal).encode())
