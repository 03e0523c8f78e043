"""Sends WebSocket frames: complete, one after the other, and none after a Close frame."""

from typing import Final

import trio

TEXT: Final = 0x1
CLOSE: Final = 0x8
PING: Final = 0x9
"""Opcodes of RFC 6455, section 5.2."""

_FINAL: Final = 0x80
_SHORT: Final = 126
_MEDIUM: Final = 1 << 16


def encode_frame(opcode: int, payload: bytes) -> bytes:
    """A message in one frame, unmasked as servers send it (RFC 6455, section 5.2)."""
    length = len(payload)
    if length < _SHORT:
        header = bytes((_FINAL | opcode, length))
    elif length < _MEDIUM:
        header = bytes((_FINAL | opcode, 126)) + length.to_bytes(2)
    else:
        header = bytes((_FINAL | opcode, 127)) + length.to_bytes(8)
    return header + payload


def encode_close(code: int, reason: str) -> bytes:
    """A Close frame. `reason` has at most 123 bytes of UTF-8 (RFC 6455, section 5.5)."""
    return encode_frame(CLOSE, code.to_bytes(2) + reason.encode())


class FrameSender:
    """The sending half of a connection, shared by the transport and trio-websocket.

    `closed` says whether the sending of a Close frame has begun. After a frame whose sending was
    cancelled nothing more is sent: the peer would parse it as the rest of that frame.
    """

    def __init__(self, stream: trio.abc.SendStream) -> None:
        self.closed = False
        self._stream = stream
        self._lock = trio.Lock()
        self._cut_off = False

    async def send(self, frames: bytes | bytearray | memoryview, *, close: bool) -> None:
        """Send complete frames; with `close` the last one is a Close frame.

        Does nothing after a Close frame. Raises trio.BrokenResourceError if the connection is
        lost, or the sending of an earlier frame was cancelled.
        """
        async with self._lock:
            if self._cut_off:
                raise trio.BrokenResourceError("an earlier frame was cut off")
            if self.closed:
                return  # RFC 6455, section 5.5.1: no frame follows a Close frame
            self.closed = close
            await self._send_all(frames)

    async def ping(self, seconds: float) -> bool:
        """Send a Ping if that is possible within `seconds`; returns whether it was sent.

        It is not begun before the peer has read enough: a frame that is cut off would end the
        connection.
        """
        async with self._lock:
            if self.closed or self._cut_off:
                return False
            try:
                with trio.move_on_after(seconds) as waiting:
                    await self._stream.wait_send_all_might_not_block()
                if waiting.cancelled_caught:
                    return False
                await self._send_all(encode_frame(PING, b""))
            except trio.BrokenResourceError:
                return False  # the task that reads notices the lost connection as well
        return True

    async def _send_all(self, frames: bytes | bytearray | memoryview) -> None:
        # A cancellation that has come while this waited for its turn cuts nothing off.
        await trio.lowlevel.checkpoint_if_cancelled()
        self._cut_off = True
        await self._stream.send_all(frames)
        self._cut_off = False
