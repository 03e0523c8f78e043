"""The PROXY protocol, version 2: a header before the first byte, with the client's address.

Source: the PROXY protocol, section 2.2. Written here, since it takes forty lines, and the package
on PyPI raises other exceptions for headers that are too short.
"""

import ipaddress
import struct
from typing import Final

from .addresses import TcpAddress

SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
HEAD: Final = 16
"""Bytes of the fixed part; its last two are the length of the rest."""

MAX_LENGTH: Final = 4096
"""The longest rest that is accepted, in bytes: addresses, and TLVs, which are not read."""

_VERSION: Final = 2
_LOCAL, _PROXY = 0, 1
_INET, _INET6 = 0x11, 0x21
_ADDRESS_BYTES: Final = {_INET: 4, _INET6: 16}


class ProxyHeaderError(Exception):
    """There is no valid PROXY protocol header (version 2); the text says why."""


def length_of(head: bytes) -> int:
    """The length in bytes of what follows the fixed part `head`. Raises ProxyHeaderError."""
    if head[: len(SIGNATURE)] != SIGNATURE:
        raise ProxyHeaderError("a PROXY protocol header (version 2) was expected")
    if head[12] >> 4 != _VERSION:
        raise ProxyHeaderError(f"version {head[12] >> 4} of the PROXY protocol is not supported")
    (length,) = struct.unpack("!H", head[14:HEAD])
    if length > MAX_LENGTH:
        raise ProxyHeaderError(f"the PROXY protocol header has {length} bytes")
    return int(length)


def client_of(head: bytes, rest: bytes) -> TcpAddress | None:
    """The address of the client; None if the proxy connects on its own behalf, or states none.

    `head` was accepted by `length_of`, and `rest` has that length. Raises ProxyHeaderError.
    """
    command, family = head[12] & 0xF, head[13]
    if command == _LOCAL:
        return None
    if command != _PROXY:
        raise ProxyHeaderError(f"unknown command {command} in the PROXY protocol header")
    size = _ADDRESS_BYTES.get(family)
    if size is None:
        return None  # another address family, which the specification says to ignore
    if len(rest) < 2 * size + 4:
        raise ProxyHeaderError("the PROXY protocol header is too short for its addresses")
    (port,) = struct.unpack("!H", rest[2 * size : 2 * size + 2])
    return TcpAddress(str(ipaddress.ip_address(rest[:size])), int(port))
