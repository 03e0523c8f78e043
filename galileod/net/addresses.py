"""Socket addresses and networks, parsed from strings and written as strings."""

import ipaddress
import os
import re
import socket
from collections.abc import Collection
from functools import lru_cache
from typing import Any, Final

from attrs import frozen

PROXY_PROTOCOL: Final = " proxy_protocol"
"""Suffix of a listening address: each connection there begins with a PROXY protocol header."""

ADDRESS_EXPECTED: Final = (
    '"host:port", "[v6 address]:port" or "unix:/path", optionally followed by " proxy_protocol"'
)

ZONE_EXPECTED: Final = 'a link-local address with its zone, such as "[fe80::1%eth0]:8750"'

NETWORK_EXPECTED: Final = 'a network such as "10.0.0.0/8" or "::1"'

MAX_UNIX_PATH: Final = 107
"""Maximum length of a unix socket's path, in bytes (unix(7))."""

UNIX_PEER: Final = "unix"
"""Name and network of every peer on a unix socket, which has no IP address."""

REMEMBERED: Final = 4096
"""Hosts whose parsed address is remembered: each connection needs it several times."""

# Newer versions of Python also count 169.254.0.0/16 when it is mapped into IPv6; it has no zones.
_LINK_LOCAL: Final = ipaddress.IPv6Network("fe80::/10")

MAX_NAME: Final = 253
"""Maximum length of a host name, in ASCII characters (RFC 1035, section 2.3.4)."""

_TCP: Final = re.compile(
    r"(?:\[([0-9A-Fa-f:.]+(?:%[\w.:-]+)?)\]|([^\s:\[\]/*]+)):(\d{1,5})", re.ASCII
)


@frozen
class TcpAddress:
    """A TCP host (name or address) and port; port 0 means any free port.

    With `proxy_protocol` each connection begins with a PROXY protocol header.
    """

    host: str
    port: int
    proxy_protocol: bool = False

    @classmethod
    def of(cls, address: tuple[Any, ...]) -> "TcpAddress":
        """The address of a socket: host and port, for IPv6 also flow information and zone.

        Only a link-local host has its zone, `fe80::1%eth0`: others are reached without one.
        """
        host, port, *rest = address
        if rest and (index := rest[1]) and _is_link_local(host):
            try:
                zone = socket.if_indextoname(index)
            except OSError:
                zone = str(index)  # the interface is gone
            host = f"{host}%{zone}"
        return cls(host, port)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}{PROXY_PROTOCOL if self.proxy_protocol else ''}"


@frozen
class UnixAddress:
    """The absolute path of a unix socket; `proxy_protocol` has the same meaning as for TCP."""

    path: str
    proxy_protocol: bool = False

    def __str__(self) -> str:
        return f"unix:{self.path}{PROXY_PROTOCOL if self.proxy_protocol else ''}"


Listen = TcpAddress | UnixAddress

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def parse_address(text: object) -> Listen:
    """Parse an address to listen on. Raises ValueError; its message says what is expected."""
    if isinstance(text, str):
        name = text.removesuffix(PROXY_PROTOCOL)
        marked = name != text
        path = name.removeprefix("unix:")
        fits = len(os.fsencode(path)) <= MAX_UNIX_PATH and "\0" not in path
        if path != name and path.startswith("/") and fits:
            return UnixAddress(path, marked)
        match = _TCP.fullmatch(name)
        if match and int(match[3]) < 1 << 16 and (_is_name(match[2]) or _is_v6(match[1])):
            if match[1] and "%" not in match[1] and _is_link_local(match[1]):
                raise ValueError(ZONE_EXPECTED)
            return TcpAddress(match[1] or match[2], int(match[3]), marked)
    raise ValueError(ADDRESS_EXPECTED)


def _is_name(host: str | None) -> bool:
    """Whether the resolver can be asked for this host: it encodes names with IDNA."""
    try:
        return (
            host is not None
            and host.isprintable()
            and "%" not in host
            and len(host.encode("idna").removesuffix(b".")) <= MAX_NAME
        )
    except UnicodeError:
        return False


def _is_v6(host: str) -> bool:
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return True


def _is_link_local(host: str) -> bool:
    return ipaddress.IPv6Address(host) in _LINK_LOCAL


def parse_network(text: object) -> Network:
    """Parse a network in CIDR notation. Raises ValueError; its message says what is expected."""
    if not isinstance(text, str):  # ip_network() accepts integers, too
        raise ValueError(NETWORK_EXPECTED)  # noqa: TRY004
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(NETWORK_EXPECTED) from None
    address, has_prefix, _ = text.partition("/")
    if has_prefix and ipaddress.ip_address(address) != network.network_address:
        raise ValueError(f'the address "{address}" alone, or its network "{network}"')
    return network


def is_trusted(host: str, trusted: Collection[Network]) -> bool:
    """Whether `host` is an address in one of the networks."""
    address = address_of(host)
    return address is not None and any(address in network for network in trusted)


@lru_cache(REMEMBERED)
def address_of(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """`host` as an address without its zone, or None if it is not an address.

    An IPv4-mapped IPv6 address (::ffff:192.0.2.7) gives the IPv4 address.
    """
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped
    return address


def unmapped(host: str) -> str:
    """The IPv4 address of an IPv4-mapped IPv6 address (::ffff:a.b.c.d); other hosts unchanged."""
    address = address_of(host)
    return str(address) if isinstance(address, ipaddress.IPv4Address) else host


@lru_cache(REMEMBERED)
def network_of(host: str) -> str:
    """The network whose hosts count as one client: an IPv4 address, or the /64 of an IPv6 one."""
    address = address_of(host)
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Network((address, 64), strict=False))
    return str(address)


def is_loopback(host: str) -> bool:
    """Whether `host`, an address or a name, can be reached from this machine only."""
    address = address_of(host)
    return host == "localhost" if address is None else address.is_loopback
