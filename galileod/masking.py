"""The masking of WebSocket frames (RFC 6455, section 5.3), in C: for both sides of a connection."""

from typing import Final

try:
    from websockets.speedups import apply_mask
except ImportError:  # a platform for which that package has nothing compiled: right, and slow
    from websockets.utils import apply_mask

__all__ = ["KEY", "apply_mask", "turned"]

KEY: Final = 4
"""Bytes in a key."""


def turned(key: bytes, length: int) -> bytes:
    """The key for what follows `length` bytes of a frame that is masked in parts."""
    turn = length % KEY
    return key[turn:] + key[:turn]
