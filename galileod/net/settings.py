"""`[server]`, `[tls]`, `[timeouts]` and `[metrics]`: addresses, limits, and time limits."""

import ipaddress
import re
from collections.abc import Iterator, Sequence
from typing import Final

from attrs import evolve, fields, frozen

from galileod.units import Duration, Violation

from .addresses import Listen, Network, TcpAddress, address_of


@frozen
class Server:
    """`[server]`: where to listen, and which connections to accept."""

    listen: tuple[Listen, ...] = (TcpAddress("127.0.0.1", 8750),)
    paths: tuple[str, ...] = ("/", "/upload")
    page: bool = True
    max_connections: int = 4096
    max_connections_per_address: int = 256
    allowed_origins: tuple[str, ...] = ()
    trusted_proxies: tuple[Network, ...] = ()
    drain_timeout: Duration = Duration(30)


@frozen
class Tls:
    """`[tls]`: the PEM files for TLS on all TCP listeners. Either both are set or neither."""

    certificate: str | None = None
    key: str | None = None


@frozen
class Timeouts:
    """`[timeouts]`: time limits for peers, and the interval of Pings, in seconds."""

    handshake: Duration = Duration(10)
    metadata: Duration = Duration(10)
    idle: Duration = Duration(60)
    close: Duration = Duration(5)
    ping: Duration = Duration(20)


@frozen
class Metrics:
    """`[metrics]`: networks whose clients may read `/metrics`."""

    allow: tuple[Network, ...] = (
        ipaddress.IPv4Network("127.0.0.0/8"),
        ipaddress.IPv6Network("::1/128"),
    )


_PATH: Final = re.compile(r"(?!/[/\\])(?!.*/\.\.?(/|$))/[!$-;=@-\[\]-~]*")
"""A path that browsers send unchanged: ASCII without spaces, quotes, angle brackets, backslashes,
`?` and `#`, without the segments `.` and `..`, and without a leading `//`, after which a browser
expects a host."""

PATH_EXPECTED: Final = (
    'a URL path: it begins with one "/", and has no query, no "..", and only characters that'
    " browsers do not encode"
)

_ORIGIN: Final = re.compile(
    r"(?!http://.*:80$)(?!https://.*:443$)[a-z][a-z0-9+.-]*://"
    r"(?:\[[0-9a-f:.]+\]|[a-z0-9._~!$&'()+,;=%-]+)(?::([1-9][0-9]{0,4}))?"
)
"""An origin as browsers serialize it (RFC 6454, section 6.2); no other spelling would match."""

ORIGIN_EXPECTED: Final = (
    'an origin as browsers send it, such as "https://example.org" or "http://localhost:3000":'
    " lower case, without a path, the default port or a wildcard"
)

MAX_PORT: Final = 65_535


def is_origin(text: str) -> bool:
    """Whether `server.allowed_origins` may contain this origin: see ORIGIN_EXPECTED, or "null"."""
    found = _ORIGIN.fullmatch(text)
    return text == "null" or (found is not None and int(found[1] or 0) <= MAX_PORT)


def violations(server: Server, tls: Tls, timeouts: Timeouts) -> Iterator[Violation]:
    """The values that have the right type but are not valid."""
    yield from _server_violations(server)
    for key, other in (("certificate", "key"), ("key", "certificate")):
        path = getattr(tls, key)
        if path is None and getattr(tls, other) is not None:
            yield f"tls.{key}", None, f"the path of a file, since tls.{other} is set"
        elif path is not None and (not path or "\0" in path):
            yield f"tls.{key}", path, "the path of a file"
    for attribute in fields(Timeouts):
        if (value := getattr(timeouts, attribute.name)) <= 0:
            yield f"timeouts.{attribute.name}", value, "a duration above 0"


def clashes(listen: Sequence[Listen]) -> Iterator[tuple[str, str]]:
    """The addresses that cannot be opened beside those before them, and what was expected."""
    seen: set[Listen] = set()
    any_of: dict[tuple[int, int], Listen] = {}
    all_of: dict[tuple[int, int], Listen] = {}
    for address in listen:
        plain = evolve(address, proxy_protocol=False)
        if isinstance(plain, TcpAddress) and plain.port == 0:
            continue  # each gets a port of its own
        host = address_of(plain.host) if isinstance(plain, TcpAddress) else None
        if plain in seen:
            yield str(address), "each address once"
        elif isinstance(plain, TcpAddress) and host:
            group = (host.version, plain.port)
            if other := (any_of if host.is_unspecified else all_of).get(group):
                yield str(address), f"another port than that of {other}, as one includes the other"
            any_of.setdefault(group, plain)
            if host.is_unspecified:
                all_of.setdefault(group, plain)
        seen.add(plain)


def _server_violations(server: Server) -> Iterator[Violation]:
    if not server.listen:
        yield "server.listen", [], "at least one address"
    for address, expected in clashes(server.listen):
        yield "server.listen", address, expected
    if not server.paths:
        yield "server.paths", [], "at least one path"
    for path in server.paths:
        if not _PATH.fullmatch(path):
            yield "server.paths", path, PATH_EXPECTED
    for origin in server.allowed_origins:
        if origin != "*" and not is_origin(origin):
            yield "server.allowed_origins", origin, ORIGIN_EXPECTED
    for key in ("max_connections", "max_connections_per_address"):
        if (value := getattr(server, key)) < 1:
            yield f"server.{key}", value, "an integer of at least 1"
