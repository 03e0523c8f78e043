"""One request, and what is known about it when it is answered."""

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
"""Seconds after which a client may try again when the server is full."""


@frozen
class Exchange:
    """A request, from whom it is, and the connection that it came on.

    `peer` is that of the socket or of its PROXY header. `client` is whom trusted proxies name in
    the request; without such it is `peer` itself. `busy` is the reason why no work is accepted now.
    `is_owner` says whether the peer runs as the daemon's user or as root. `grant` is what the
    credential in the request allows.
    """

    request: Request
    stream: trio.abc.HalfCloseableStream
    peer: Peer
    client: Peer
    log: FilteringBoundLogger
    busy: str | None = None
    is_owner: bool = False
    grant: Grant | None = None


def busy(reason: str) -> Response:
    """The response while no work is accepted."""
    return Response(HTTPStatus.SERVICE_UNAVAILABLE, reason, {"Retry-After": str(RETRY_AFTER)})


def is_proxy(peer: Peer, trusted: Collection[Network]) -> bool:
    """Whether `peer` is a trusted proxy, by its address."""
    return not peer.is_local and is_trusted(peer.user, trusted)


def client_behind(
    peer: Peer, request: Request, trusted: Collection[Network]
) -> tuple[Peer, Request]:
    """The client that a trusted proxy names, and the request with the URL that it requested.

    A peer that is no trusted proxy is the client itself. Raises BadRequest.
    """
    if not is_proxy(peer, trusted):
        return peer, request
    try:
        stated = read_forwarded(peer.user, request.headers, trusted)
    except ValueError as error:
        raise BadRequest(HTTPStatus.BAD_REQUEST, str(error)) from None
    scheme, host = stated.scheme or request.scheme, stated.host or request.host
    return Peer.behind_proxy(stated.client), evolve(request, scheme=scheme, host=host)
