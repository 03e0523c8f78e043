"""`[server]`, `[tls]`, `[timeouts]` and `[metrics]`: listening, and who may connect."""

import ipaddress
import re
from collections.abc import Iterator
from typing import Final

from attrs import fields, frozen

from galileod.units import Duration, Violation

from .addresses import Listen, Network, TcpAddress


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
    """`[tls]`: the PEM files of TCP listeners; both or neither."""

    certificate: str | None = None
    key: str | None = None


@frozen
class Timeouts:
    """`[timeouts]`: how long to wait for a peer."""

    handshake: Duration = Duration(10)
    metadata: Duration = Duration(10)
    idle: Duration = Duration(60)
    close: Duration = Duration(5)


@frozen
class Metrics:
    """`[metrics]`: networks whose clients may read `/metrics`."""

    allow: tuple[Network, ...] = (
        ipaddress.IPv4Network("127.0.0.0/8"),
        ipaddress.IPv6Network("::1/128"),
    )


_PATH: Final = re.compile(r"(?!/[/\\])(?!.*/\.\.?(/|$))/[!$-;=@-\[\]-~]*")
"""A path that browsers send unchanged: ASCII without spaces, quotes, angle brackets, backslashes,
`?` and `#`, without `.` or `..` as a segment; nor a leading `//`, which begins a host."""

_ORIGIN: Final = re.compile(
    r"(?!http://.*:80$)(?!https://.*:443$)[a-z][a-z0-9+.-]*://[^/?#@\sA-Z]+"
)
"""An origin as browsers write it (RFC 6454, section 6.2); any other spelling would never match."""

ORIGIN_EXPECTED: Final = (
    'an origin as browsers send it, such as "https://example.org" or "http://localhost:3000":'
    " lower case, without a path or the usual port"
)


def violations(server: Server, tls: Tls, timeouts: Timeouts) -> Iterator[Violation]:
    """Values that have the right type and break a rule."""
    yield from _server_violations(server)
    for key, other in (("certificate", "key"), ("key", "certificate")):
        path = getattr(tls, key)
        if path is None and getattr(tls, other) is not None:
            yield f"tls.{key}", None, f"the path of a file, beside tls.{other}: both or neither"
        elif path is not None and (not path or "\0" in path):
            yield f"tls.{key}", path, "the path of a file"
    for attribute in fields(Timeouts):
        if (value := getattr(timeouts, attribute.name)) <= 0:
            yield f"timeouts.{attribute.name}", value, "a duration above 0"


def _server_violations(server: Server) -> Iterator[Violation]:
    if not server.listen:
        yield "server.listen", [], "at least one address"
    if not server.paths:
        yield "server.paths", [], "at least one path"
    for path in server.paths:
        if not _PATH.fullmatch(path):
            yield "server.paths", path, 'a path as in a URL: from its "/", without query and spaces'
    for origin in server.allowed_origins:
        if origin not in ("*", "null") and not _ORIGIN.fullmatch(origin):
            yield "server.allowed_origins", origin, ORIGIN_EXPECTED
    for key in ("max_connections", "max_connections_per_address"):
        if (value := getattr(server, key)) < 1:
            yield f"server.{key}", value, "an integer of at least 1"
