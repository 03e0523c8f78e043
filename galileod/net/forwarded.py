"""Finds the client of a proxied request in X-Forwarded-* and Forwarded (RFC 7239) headers."""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from attrs import frozen

from .addresses import Network, address_of, is_trusted

_QUOTED: Final = re.compile(r'(?:[^"]|"(?:[^"\\]|\\.)*")*')
_ELEMENT: Final = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*")+')
_PAIR: Final = re.compile(r'(?:[^;"]|"(?:[^"\\]|\\.)*")+')
_UNESCAPE: Final = re.compile(r"\\(.)")
_NODE: Final = re.compile(r"\[([^\]]*)\](?::\d+)?|([\d.]+)(?::\d+)?", re.ASCII)
"""The grammar of RFC 7239, section 4: a quoted value may contain commas and semicolons."""

_SCHEMES: Final = {"ws": "http", "wss": "https"}
"""Some proxies send ws or wss as the scheme. It is compared with that of the page in an Origin
header, which is http or https."""

_PORT: Final = re.compile(r"\d{1,5}", re.ASCII)


@frozen
class Forwarded:
    """The client's address, and the scheme, host and port of the URL that it requested.

    `scheme`, `host` and `port` are None if no header of a proxy contains them. The `host` may
    contain a port as well.
    """

    client: str
    scheme: str | None
    host: str | None
    port: str | None = None


def read_forwarded(
    peer: str, headers: Mapping[str, str], trusted: Collection[Network]
) -> Forwarded:
    """Read the headers of a request that the trusted proxy `peer` passed on.

    Both kinds of headers are read. A proxy that writes one kind may pass on the other kind from the
    client unchanged, so a value that is in both must be the same. Raises ValueError if it differs,
    or if Forwarded is malformed; its message can be sent to the client.
    """
    by_x = by_forwarded = None
    scheme = host = None
    if x_forwarded_for := headers.get("x-forwarded-for"):
        by_x, _ = read_hops(peer, x_forwarded_for.split(","), trusted)
    if forwarded := headers.get("forwarded"):
        elements = forwarded_elements(forwarded)
        hops = [_without_port(element.get("for", "")) for element in elements]
        by_forwarded, read = read_hops(peer, hops, trusted)
        if read:
            outermost = elements[-read]
            scheme, host = outermost.get("proto"), outermost.get("host")
    return Forwarded(
        _agreed("client", by_x, by_forwarded) or peer,
        _agreed("scheme", _scheme(_last(headers, "x-forwarded-proto")), _scheme(scheme)),
        _agreed("host", _last(headers, "x-forwarded-host"), host),
        _port(_last(headers, "x-forwarded-port")),
    )


def read_hops(peer: str, hops: Sequence[str], trusted: Collection[Network]) -> tuple[str, int]:
    """The address of the client behind `peer`, and how many of `hops` were read, from the right.

    The rightmost hop that is not a trusted proxy is the client; it may have forged the hops to its
    left, which are not read. If an entry is not an address, the hop to its right is the client.
    """
    client, read = peer, 0
    while read < len(hops) and is_trusted(client, trusted):
        read += 1
        named = address_of(hops[-read].strip())
        if named is None:
            break
        client = str(named)
    return client, read


def forwarded_elements(forwarded: str) -> list[dict[str, str]]:
    """Parse a Forwarded header: for each element, in order, its values by name.

    Raises ValueError for an unterminated quoted string.
    """
    if not _QUOTED.fullmatch(forwarded):
        raise ValueError("The Forwarded header has an unterminated quoted string.")
    elements = []
    for element in _ELEMENT.findall(forwarded):
        values: dict[str, str] = {}
        for pair in _PAIR.findall(element):
            key, _, value = pair.strip().partition("=")
            values.setdefault(
                key.lower(), _UNESCAPE.sub(r"\1", value.removeprefix('"').removesuffix('"'))
            )
        elements.append(values)
    return elements


def _without_port(node: str) -> str:
    match = _NODE.fullmatch(node)
    return (match[1] or match[2]) if match else node


def _last(headers: Mapping[str, str], name: str) -> str | None:
    """The last value of a header, which the nearest proxy wrote."""
    return headers.get(name, "").rpartition(",")[2].strip() or None


def _scheme(value: str | None) -> str | None:
    return value and _SCHEMES.get(value.lower(), value.lower())


def _port(value: str | None) -> str | None:
    return value if value and _PORT.fullmatch(value) else None


def _agreed(what: str, one: str | None, other: str | None) -> str | None:
    """The value that either header has. Raises ValueError if both have one and they differ."""
    if one and other and one != other:
        raise ValueError(f"Forwarded and X-Forwarded headers do not name the same {what}.")
    return one or other
