"""Masks WebSocket frames (RFC 6455, section 5.3) in C, for the server and the client."""

from typing import Final

try:
    from websockets.speedups import apply_mask
except ImportError:  # no compiled extension on this platform: same result, slower
    from websockets.utils import apply_mask

__all__ = ["KEY", "apply_mask", "rotate_key"]

KEY: Final = 4
"""Bytes of a masking key."""


def rotate_key(key: bytes, length: int) -> bytes:
    """The key for the rest of a frame, after `length` bytes that were masked with `key`."""
    at = length % KEY
    return key[at:] + key[:at]
