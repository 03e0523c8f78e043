"""The PROXY protocol, version 2: which client a connection is for, told ahead of its first byte.

Source: the PROXY protocol, section 2.2. Ours, since it is forty lines; the package for it on PyPI
lets short headers through as errors of another kind.
"""

import ipaddress
import struct
from typing import Final

from .addresses import TcpAddress

SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
HEAD: Final = 16
"""Bytes up to and with the length of what follows."""

MAX_LENGTH: Final = 4096
"""Bytes that may follow: the addresses, and what else a proxy wants to say."""

_VERSION: Final = 2
_LOCAL, _PROXY = 0, 1
_INET, _INET6 = 0x11, 0x21
_ADDRESS_BYTES: Final = {_INET: 4, _INET6: 16}


class ProxyHeaderError(Exception):
    """What came first is no header of the PROXY protocol, version 2; the text says why."""


def length_of(head: bytes) -> int:
    """How many bytes follow the first HEAD bytes of a header. Raises ProxyHeaderError."""
    if head[: len(SIGNATURE)] != SIGNATURE:
        raise ProxyHeaderError("a PROXY protocol header (version 2) was expected")
    if head[12] >> 4 != _VERSION:
        raise ProxyHeaderError(f"version {head[12] >> 4} of the PROXY protocol is not spoken")
    (length,) = struct.unpack("!H", head[14:HEAD])
    if length > MAX_LENGTH:
        raise ProxyHeaderError(f"the PROXY protocol header has {length} bytes")
    return int(length)


def client_of(head: bytes, rest: bytes) -> TcpAddress | None:
    """Who connects through the proxy; None where the proxy itself does, or does not say.

    `head` has gone through `length_of`, and `rest` is as long as it says. Raises ProxyHeaderError.
    """
    command, family = head[12] & 0xF, head[13]
    if command == _LOCAL:
        return None
    if command != _PROXY:
        raise ProxyHeaderError(f"the PROXY protocol has no command {command}")
    size = _ADDRESS_BYTES.get(family)
    if size is None:
        return None  # another family of addresses: the specification says to go on without
    if len(rest) < 2 * size + 4:
        raise ProxyHeaderError("the PROXY protocol header ends within its addresses")
    (port,) = struct.unpack("!H", rest[2 * size : 2 * size + 2])
    return TcpAddress(str(ipaddress.ip_address(rest[:size])), int(port))
