"""Authorisation: which clients may use a route of HTTP, WebSocket or the control socket."""

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
"""Maximum fields of a query string; the credential in a longer one is ignored."""

LOOPBACK: Final = "127.0.0.1"
"""The address that a peer on a unix socket counts as, in `metrics.allow`."""


class Access(Enum):
    """Which clients may use a route."""

    ANYBODY = auto()
    CREDENTIAL = auto()
    """Clients with a valid credential, or with none: the metadata of the upload may contain it.

    If interrupted uploads are kept, a ticket may have expired: the metadata tells whether an upload
    is resumed.
    """
    METRICS = auto()
    """Clients in `metrics.allow`. A request through a proxy that does not name its client is
    refused."""
    OWNER = auto()
    """Processes of the daemon's user and of root."""


async def authorize(access: Access, exchange: Exchange, context: Context) -> Grant | None:
    """Check that the client has `access`; returns the grant of its credential, if it sent one.

    Raises Refused: 401 for an invalid credential, after a delay; 403 for other clients; 503 if the
    daemon stops during the delay.
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
    """The bearer token (RFC 6750, section 2.1) or the `?ticket=` of a request; None without one."""
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
        # The delay after an invalid credential ends when the daemon stops.
        with context.shutdown.no_new_uploads.guard() as stopped:
            grant = await check_credential(
                authenticator,
                credential,
                exchange.client.network,
                context.metrics,
                exchange.log,
                allow_expired=context.config.resume.keep > 0,
            )
    except Unauthorized:
        headers = {"WWW-Authenticate": 'Bearer realm="galileod"'}
        raise Refused(Response(HTTPStatus.UNAUTHORIZED, NOT_VALID, headers)) from None
    if stopped.cancelled_caught:
        raise Refused(busy("The server is shutting down."))
    return grant


def _check_network(exchange: Exchange, config: Config) -> None:
    client, trusted = exchange.client, config.server.trusted_proxies
    if exchange.is_proxied and (client is exchange.peer or is_proxy(client, trusted)):
        raise _forbidden("The request came through a proxy, and no trusted proxy names its client.")
    host = LOOPBACK if client.is_local else client.user
    if not is_trusted(host, config.metrics.allow):
        raise _forbidden("Only the networks in metrics.allow may read the metrics.")


def _forbidden(reason: str) -> Refused:
    return Refused(Response(HTTPStatus.FORBIDDEN, reason))
