"""The PROXY protocol, version 2: a header at the start of a connection with the client's address.

See section 2.2 of the specification. Not a dependency, since it takes sixty lines, and the package
on PyPI raises unrelated exceptions for headers that are too short.
"""

import ipaddress
import struct
from typing import Final

from .addresses import TcpAddress

SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
HEAD: Final = 16
"""Bytes of the fixed part; its last two bytes are the length of the variable part."""

MAX_LENGTH: Final = 4096
"""Maximum bytes of the variable part: addresses, and TLVs, of which one is read."""

_VERSION: Final = 2
_LOCAL, _PROXY = 0, 1
_INET, _INET6 = 0x11, 0x21
_ADDRESS_BYTES: Final = {_INET: 4, _INET6: 16}

_TLV_HEAD: Final = struct.Struct("!BH")
"""The type of a TLV, and the length of its value, which follows."""

_SSL: Final = 0x20  # PP2_TYPE_SSL
_CLIENT_SSL: Final = 0x01  # PP2_CLIENT_SSL, a bit of the first byte of its value


class ProxyHeaderError(Exception):
    """There is no valid PROXY protocol header (version 2); the message says why."""


def length_of(head: bytes) -> int:
    """The length of the variable part in bytes, by the fixed part `head`.

    Raises ProxyHeaderError if `head` is not valid, or the length exceeds MAX_LENGTH.
    """
    if head[: len(SIGNATURE)] != SIGNATURE:
        raise ProxyHeaderError("a PROXY protocol header (version 2) was expected")
    if head[12] >> 4 != _VERSION:
        raise ProxyHeaderError(f"version {head[12] >> 4} of the PROXY protocol is not supported")
    (length,) = struct.unpack("!H", head[14:HEAD])
    if length > MAX_LENGTH:
        raise ProxyHeaderError(f"the PROXY protocol header has {length} bytes")
    return int(length)


def client_of(head: bytes, rest: bytes) -> TcpAddress | None:
    """The address of the client, by the fixed part `head` and the variable part `rest`.

    None if the proxy connects on its own behalf (LOCAL), or the address family is not IPv4 or IPv6.
    Raises ProxyHeaderError for an unknown command, and if `rest` is too short for the addresses.
    """
    command, family = head[12] & 0xF, head[13]
    if command == _LOCAL:
        return None
    if command != _PROXY:
        raise ProxyHeaderError(f"unknown command {command} in the PROXY protocol header")
    size = _ADDRESS_BYTES.get(family)
    if size is None:
        return None  # the specification requires that other address families are ignored
    if len(rest) < 2 * size + 4:
        raise ProxyHeaderError("the PROXY protocol header is too short for its addresses")
    (port,) = struct.unpack("!H", rest[2 * size : 2 * size + 2])
    return TcpAddress(str(ipaddress.ip_address(rest[:size])), int(port))


def is_over_tls(head: bytes, rest: bytes) -> bool:
    """Whether the client of `client_of` has connected to the proxy over TLS.

    False if the proxy does not say so, or the TLVs do not fit into the header. Raises nothing.
    """
    if head[12] & 0xF != _PROXY or (size := _ADDRESS_BYTES.get(head[13])) is None:
        return False
    tlvs = rest[2 * size + 4 :]
    while len(tlvs) > _TLV_HEAD.size:
        kind, length = _TLV_HEAD.unpack_from(tlvs)
        value, tlvs = tlvs[_TLV_HEAD.size :][:length], tlvs[_TLV_HEAD.size + length :]
        if kind == _SSL and len(value) == length > 0:
            return bool(value[0] & _CLIENT_SSL)
    return False
