"""Where to listen, and who is calling: socket addresses as text and back."""

import ipaddress
import os
import re
from collections.abc import Collection, Sequence
from typing import Final

from attrs import frozen

ADDRESS_EXPECTED: Final = '"host:port", "[v6 address]:port" or "unix:/path"'

NETWORK_EXPECTED: Final = 'a network such as "10.0.0.0/8" or "::1"'

MAX_UNIX_PATH: Final = 107
"""Bytes in the path of a unix socket (unix(7))."""

UNIX_PEER: Final = "unix"
"""The name of any peer on a unix socket: it has no address."""

_QUOTED: Final = re.compile(r'(?:[^"]|"(?:[^"\\]|\\.)*")*')
_ELEMENT: Final = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*")+')
_PAIR: Final = re.compile(r'(?:[^;"]|"(?:[^"\\]|\\.)*")+')
_UNESCAPE: Final = re.compile(r"\\(.)")
_NODE: Final = re.compile(r"\[([^\]]*)\](?::\d+)?|([\d.]+)(?::\d+)?", re.ASCII)
"""Parts of RFC 7239, section 4: values may be quoted, with commas and semicolons in them."""

_TCP: Final = re.compile(r"(?:\[([0-9A-Fa-f:.%\w]+)\]|([^\s:\[\]/*]+)):(\d{1,5})", re.ASCII)


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

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


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


def parse_network(text: object) -> Network:
    """Raises ValueError for what is no CIDR; the text says what is expected."""
    try:
        if isinstance(text, str):  # a number would be taken for an address, too
            return ipaddress.ip_network(text)
    except ValueError:
        pass  # with a better sentence below
    raise ValueError(NETWORK_EXPECTED)


def is_trusted(host: str, trusted: Collection[Network]) -> bool:
    """Whether `host` is an address in one of the networks."""
    address = _address(host)
    return address is not None and any(address in network for network in trusted)


def client_host(peer: str, hops: Sequence[str], trusted: Collection[Network]) -> str:
    """Who is behind `peer`, as its proxies tell it: `hops` read from the right, while trusted.

    The first hop that is not trusted is the client; what stands left of it is only its word. An
    entry that is no address ends the reading, at the hop that passed it on.
    """
    client = peer
    for hop in reversed(hops):
        if not is_trusted(client, trusted):
            break
        named = _address(hop)
        if named is None:
            break
        client = str(named)
    return client


def x_forwarded_hops(x_forwarded_for: str) -> list[str]:
    """The hops of an X-Forwarded-For header, in its order."""
    return [hop.strip() for hop in x_forwarded_for.split(",")]


def forwarded_hops(forwarded: str) -> list[str]:
    """The hops of a Forwarded header (RFC 7239), in its order, without ports.

    A hop that names no address is kept as it is: nobody can be found behind it. Raises ValueError
    where a quotation does not end: what stands behind it cannot be told from what it quotes.
    """
    if not _QUOTED.fullmatch(forwarded):
        raise ValueError("a Forwarded header whose quotations end")
    hops = []
    for element in _ELEMENT.findall(forwarded):
        pairs = (pair.strip().partition("=") for pair in _PAIR.findall(element))
        named = [value for key, _, value in pairs if key.lower() == "for"]
        hops.append(_without_port(_UNESCAPE.sub(r"\1", named[0].strip('"'))) if named else "")
    return hops


def _without_port(node: str) -> str:
    match = _NODE.fullmatch(node)
    return (match[1] or match[2]) if match else node


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped
    return address


def unmapped(host: str) -> str:
    """The IPv4 address that a socket for both families calls ::ffff:a.b.c.d; others as they are."""
    address = _address(host)
    return str(address) if isinstance(address, ipaddress.IPv4Address) else host


def network_of_peer(name: str) -> str:
    """What counts as one client, of a peer as the log calls it: with a port, without, or unix."""
    if name.startswith("["):
        return network_of(name[1:].partition("]")[0])
    host, _, port = name.partition(":")
    return network_of(name if ":" in port else host)


def network_of(host: str) -> str:
    """What counts as one client: an IPv4 address, or the /64 that an IPv6 address is in."""
    address = _address(host)
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Network((address, 64), strict=False))
    return str(address)
