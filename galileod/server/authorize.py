"""Authorisation: who may do what a route does, for HTTP, WebSocket and the control socket."""

from enum import Enum, auto
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qs, urlsplit

from galileod.auth.check import check_credential
from galileod.auth.grant import NOT_VALID, Grant, Unauthorized
from galileod.config.model import Config
from galileod.net.addresses import is_trusted
from galileod.net.http11 import Refused, Request, Response
from galileod.uploads.context import Context

from .exchange import Exchange, busy, is_proxy

MAX_FIELDS: Final = 100
"""Fields of a query string that are parsed; a longer one has no credential."""

PROXY_HEADERS: Final = frozenset(
    {
        "forwarded",
        "via",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-real-ip",
    }
)
"""Headers that only a request through a proxy has."""

LOOPBACK: Final = "127.0.0.1"
"""The address that a peer on a unix socket is judged by: it is on this machine."""


class Access(Enum):
    """Who may use a route."""

    ANYBODY = auto()
    CREDENTIAL = auto()
    """A client with a valid credential; one without any, since the metadata may have it."""
    METRICS = auto()
    """A client in `metrics.allow`, unless an unknown proxy hides who it is."""
    OWNER = auto()
    """The user that the daemon runs as, and root."""


async def authorize(access: Access, exchange: Exchange, context: Context) -> Grant | None:
    """Check that the client may; what its credential allows, if it has one.

    Raises Refused: 401 for a wrong credential, after a delay, 403 for anything else.
    """
    match access:
        case Access.CREDENTIAL:
            return await _check_credential(exchange, context)
        case Access.METRICS:
            _check_network(exchange, context.config)
        case Access.OWNER if not exchange.is_owner:
            raise _forbidden("Only the daemon's user and root may use the control socket.")
    return None


def credential_of(request: Request) -> str | None:
    """The credential in a request: a bearer token (RFC 6750, section 2.1), or `?ticket=`."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return token.strip()
    try:
        query = parse_qs(urlsplit(request.target).query, max_num_fields=MAX_FIELDS)
    except ValueError:
        return None
    return query.get("ticket", [None])[0]


async def _check_credential(exchange: Exchange, context: Context) -> Grant | None:
    authenticator, credential = context.authenticator, credential_of(exchange.request)
    if authenticator.is_open or credential is None:
        return None
    try:
        # The delay after a wrong credential ends when the daemon stops.
        with context.shutdown.no_new_uploads.guard() as stopped:
            grant = await check_credential(
                authenticator, credential, exchange.client.network, context.metrics, exchange.log
            )
    except Unauthorized:
        headers = {"WWW-Authenticate": 'Bearer realm="galileod"'}
        raise Refused(Response(HTTPStatus.UNAUTHORIZED, NOT_VALID, headers)) from None
    if stopped.cancelled_caught:
        raise Refused(busy("The server is shutting down."))
    return grant


def _check_network(exchange: Exchange, config: Config) -> None:
    client, trusted = exchange.client, config.server.trusted_proxies
    proxied = not PROXY_HEADERS.isdisjoint(exchange.request.headers)
    if proxied and (client is exchange.peer or is_proxy(client, trusted)):
        raise _forbidden("No trusted proxy names the client that asks for metrics.")
    host = LOOPBACK if client.is_local else client.user
    if not is_trusted(host, config.metrics.allow):
        raise _forbidden("Metrics are for the networks in metrics.allow alone.")


def _forbidden(reason: str) -> Refused:
    return Refused(Response(HTTPStatus.FORBIDDEN, reason))
