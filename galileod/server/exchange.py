"""One request, with the client and the connection that it came from."""

from collections.abc import Collection
from http import HTTPStatus
from typing import Final

import trio
from attrs import evolve, frozen
from structlog.typing import FilteringBoundLogger

from galileod.auth.grant import Grant
from galileod.net.addresses import Network, is_trusted
from galileod.net.forwarded import read_forwarded
from galileod.net.http11 import BadRequest, Request, Response
from galileod.net.peer import Peer

RETRY_AFTER: Final = 5
"""Seconds after which a client may retry a request that was answered with 503."""

PROXY_HEADERS: Final = frozenset(
    {
        "forwarded",
        "via",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-forwarded-proto",
        "x-real-ip",
    }
)
"""Headers that only proxies add to a request."""


@frozen
class Exchange:
    """A request, its client, and its connection.

    `peer` is the peer of the socket, or the client in its PROXY header. `client` is the client that
    trusted proxies name in the request's headers, else `peer`. `busy` is the reason why no work is
    accepted now; None if work is accepted. `is_owner` says whether the peer runs as the daemon's
    user or as root. `grant` is what the credential in the request allows, if it has one.
    """

    request: Request
    stream: trio.abc.HalfCloseableStream
    peer: Peer
    client: Peer
    log: FilteringBoundLogger
    busy: str | None = None
    is_owner: bool = False
    grant: Grant | None = None

    @property
    def is_proxied(self) -> bool:
        """Whether the request came through a proxy, trusted or not, by its headers."""
        return not PROXY_HEADERS.isdisjoint(self.request.headers)

    @property
    def by_unknown_proxy(self) -> bool:
        """Whether it came through a proxy that `server.trusted_proxies` could contain and does not.

        It cannot contain a peer on a unix socket.
        """
        return self.is_proxied and self.client is self.peer and not self.peer.is_local


def busy(reason: str) -> Response:
    """The response while no work is accepted: 503 with Retry-After."""
    return Response(HTTPStatus.SERVICE_UNAVAILABLE, reason, {"Retry-After": str(RETRY_AFTER)})


def is_proxy(peer: Peer, trusted: Collection[Network]) -> bool:
    """Whether the address of `peer` is in `trusted`."""
    return not peer.is_local and is_trusted(peer.user, trusted)


def client_behind(
    peer: Peer, request: Request, trusted: Collection[Network]
) -> tuple[Peer, Request]:
    """The client of a request, and the request with scheme, host and port as the client sent it.

    They are read from the headers of a trusted proxy. Any other peer is the client itself. Raises
    BadRequest if the headers contradict each other or are malformed.
    """
    if not is_proxy(peer, trusted):
        return peer, request
    try:
        stated = read_forwarded(peer.user, request.headers, trusted)
    except ValueError as error:
        raise BadRequest(HTTPStatus.BAD_REQUEST, str(error)) from None
    scheme, host = stated.scheme or request.scheme, stated.host or request.host
    request = evolve(request, scheme=scheme, host=host, port=stated.port)
    return Peer.behind_proxy(stated.client), request
