"""What the proxies before a request say of it: for whom it is, and how that client saw us."""

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
"""Parts of RFC 7239, section 4: values may be quoted, with commas and semicolons in them."""

_SCHEMES: Final = {"ws": "http", "wss": "https"}
"""Some proxies tell the scheme of the upload's URL; an Origin has that of the page's."""


@frozen
class Told:
    """What a request's proxies say. `scheme` and `host` are as the client saw them, if told."""

    client: str
    scheme: str | None
    host: str | None


def told_by(peer: str, headers: Mapping[str, str], trusted: Collection[Network]) -> Told:
    """What the headers of a request say that a trusted `peer` passed on.

    X-Forwarded-For, -Proto and -Host are read, and Forwarded (RFC 7239). A proxy that knows only
    one kind may pass on what a client claims in the other: where both tell something, they must
    tell the same. Raises ValueError where they do not, or cannot be read; the text is a sentence.
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
    return Told(
        _agreed("client", by_x, by_forwarded) or peer,
        _agreed("scheme", _scheme(_last(headers, "x-forwarded-proto")), _scheme(scheme)),
        _agreed("host", _last(headers, "x-forwarded-host"), host),
    )


def read_hops(peer: str, hops: Sequence[str], trusted: Collection[Network]) -> tuple[str, int]:
    """Who is behind `peer`, and how many of `hops` were read for it: from the right, while trusted.

    The first hop that is not trusted is the client; what stands left of it is only its word. An
    entry that is no address ends the reading, at the hop that passed it on.
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
    """The elements of a Forwarded header, in its order, each with its values by their names.

    Raises ValueError where a quotation does not end: what stands behind it cannot be told from what
    it quotes.
    """
    if not _QUOTED.fullmatch(forwarded):
        raise ValueError("A quotation in the Forwarded header does not end.")
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
    """The last value of a header: the nearest proxy's."""
    return headers.get(name, "").rpartition(",")[2].strip() or None


def _scheme(value: str | None) -> str | None:
    return value and _SCHEMES.get(value.lower(), value.lower())


def _agreed(what: str, one: str | None, other: str | None) -> str | None:
    if one and other and one != other:
        raise ValueError(f"Forwarded and X-Forwarded headers do not name the same {what}.")
    return one or other
