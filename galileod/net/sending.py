"""Sends WebSocket frames: complete, one after the other, and none after a Close frame."""

import base64
import hashlib
import math
from typing import Final

import trio

from .streams import DirectStream

TEXT: Final = 0x1
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA
"""Opcodes of RFC 6455, section 5.2."""

_FINAL: Final = 0x80
_SHORT: Final = 126
_MEDIUM: Final = 1 << 16
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def encode_response(key: bytes) -> bytes:
    """The response that accepts an upgrade request with the Sec-WebSocket-Key `key`."""
    accept = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )


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
    """The sending half of a connection, for all tasks that send.

    `closed` says whether the sending of a Close frame has begun. After a frame whose sending was
    cancelled nothing more is sent: the peer would parse it as the rest of that frame.
    """

    def __init__(self, stream: trio.abc.SendStream) -> None:
        self.closed = False
        self._stream = stream
        self._direct = stream if isinstance(stream, DirectStream) else None
        self._lock = trio.Lock()
        self._cut_off = False

    async def send(self, frames: bytes, *, timeout: float = math.inf, close: bool = False) -> None:
        """Send complete frames; with `close` the last one is a Close frame.

        Does nothing after a Close frame. Waits only if the socket does not take all at once, for at
        most `timeout` seconds. Raises trio.TooSlowError after that, and trio.BrokenResourceError if
        the connection is lost, or the sending of an earlier frame was cancelled.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._direct is None or self._lock.locked():
            with trio.fail_after(timeout):
                async with self._lock:
                    if self._begin(close=close):
                        await self._send_all(frames)
        elif self._begin(close=close) and not self._direct.send_nowait(frames):
            self._lock.acquire_nowait()
            try:
                with trio.fail_after(timeout):
                    self._cut_off = True
                    await self._direct.flush()
                    self._cut_off = False
            finally:
                self._lock.release()

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

    def _begin(self, *, close: bool) -> bool:
        """Whether a frame may be sent now; with `close` none may be sent after it."""
        if self._cut_off:
            raise trio.BrokenResourceError("an earlier frame was cut off")
        if self.closed:
            return False  # RFC 6455, section 5.5.1: no frame follows a Close frame
        self.closed = close
        return True

    async def _send_all(self, frames: bytes) -> None:
        # A cancellation that has come while this waited for its turn cuts nothing off.
        await trio.lowlevel.checkpoint_if_cancelled()
        self._cut_off = True
        await self._stream.send_all(frames)
        self._cut_off = False
