"""What the cases of sections 6, 7 and 11 share."""

import json
from typing import Any

from websockets.frames import Opcode

from galileod.conformance.websocket import WebSocket

Part = tuple[int, bytes, bool]
"""A frame: opcode, payload, FIN."""


def split(opcode: int, data: bytes, *at: int) -> list[Part]:
    """The fragments of a message, divided at these offsets."""
    offsets = sorted(at)
    pieces = [data[i:j] for i, j in zip((0, *offsets), (*offsets, len(data)), strict=True)]
    last = len(pieces) - 1
    return [(Opcode.CONT if n else opcode, piece, n == last) for n, piece in enumerate(pieces)]


async def send_parts(websocket: WebSocket, parts: list[Part]) -> None:
    """Send fragments, with a Ping or a Pong before each but the first."""
    for number, (opcode, payload, fin) in enumerate(parts):
        if number:
            control = Opcode.PING if number % 2 else Opcode.PONG
            await websocket.send_frame(control, b"between")
        await websocket.send_frame(opcode, payload, fin=fin)


def to_json(signal: dict[str, Any]) -> bytes:
    """A signal as JSON without escapes of characters that need none."""
    return json.dumps(signal, ensure_ascii=False).encode()
