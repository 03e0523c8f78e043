"""Where to listen, and who is calling: socket addresses as text and back."""

import ipaddress
import os
import re
from typing import Final

from attrs import frozen

ADDRESS_EXPECTED: Final = '"host:port", "[v6 address]:port" or "unix:/path"'

MAX_UNIX_PATH: Final = 107
"""Bytes in the path of a unix socket (unix(7))."""

UNIX_PEER: Final = "unix"
"""The name of any peer on a unix socket: it has no address."""

_TCP: Final = re.compile(r"(?:\[([0-9A-Fa-f:.%\w]+)\]|([^\s:\[\]/]+)):(\d{1,5})", re.ASCII)


@frozen
class TcpAddress:
    """A TCP host (name or address) and port; port 0 takes a free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@frozen
class UnixAddress:
    """The absolute path of a unix socket."""

    path: str

    def __str__(self) -> str:
        return f"unix:{self.path}"


Listen = TcpAddress | UnixAddress


def parse_address(text: object) -> Listen:
    """Raises ValueError for what is no address; the text says what is expected."""
    if isinstance(text, str):
        path = text.removeprefix("unix:")
        fits = len(os.fsencode(path)) <= MAX_UNIX_PATH and "\0" not in path
        if path != text and path.startswith("/") and fits:
            return UnixAddress(path)
        match = _TCP.fullmatch(text)
        if match and int(match[3]) < 1 << 16 and (match[2] or _is_v6(match[1])):
            return TcpAddress(match[1] or match[2], int(match[3]))
    raise ValueError(ADDRESS_EXPECTED)


def _is_v6(host: str) -> bool:
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return True


def network_of(host: str) -> str:
    """What counts as one client: an IPv4 address, or the /64 that an IPv6 address is in."""
    address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped:
            return str(address.ipv4_mapped)
        return str(ipaddress.IPv6Network((address, 64), strict=False))
    return str(address)
