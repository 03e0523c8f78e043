"""WebSocket handshakes: recognizes, checks and accepts them, and serves the upload that follows."""

import base64
import binascii
from http import HTTPStatus
from typing import Final

import trio

from galileod.net.http11 import Refused, Request, Response
from galileod.net.streams import drop_until_quiet
from galileod.net.websocket import TransportClosed, open_transport
from galileod.uploads.connection import Connection
from galileod.uploads.context import Context
from galileod.uploads.session import serve_files

from .authorize import credential_of
from .exchange import Exchange

_VERSION: Final = "13"
_KEY_BYTES: Final = 16


def is_upgrade(request: Request) -> bool:
    """Whether the request has an Upgrade header with the token `websocket`."""
    return "websocket" in request.tokens("upgrade")


def check_upgrade(request: Request) -> None:
    """Check a WebSocket handshake (RFC 6455, section 4.2.1).

    Raises Refused: 426 for another version, else 400.
    """
    connection = request.tokens("connection")
    if request.method != "GET" or request.version != "1.1" or "upgrade" not in connection:
        text = "A WebSocket handshake is a GET request in HTTP/1.1 with Connection: Upgrade."
        raise Refused(Response(400, text))
    if request.headers.get("sec-websocket-version") != _VERSION:
        headers = {"Upgrade": "websocket", "Sec-WebSocket-Version": _VERSION}
        raise Refused(Response(426, "Only WebSocket version 13 is supported.", headers))
    if not _is_key(request.headers.get("sec-websocket-key", "")):
        text = "A WebSocket handshake needs a Sec-WebSocket-Key of 16 bytes."
        raise Refused(Response(400, text))


async def require_upgrade(_exchange: Exchange) -> Response:
    """426: the response to a request for an upload path that is not a WebSocket handshake."""
    text = "This path accepts uploads over WebSocket only."
    return Response(HTTPStatus.UPGRADE_REQUIRED, text, {"Upgrade": "websocket"})


async def serve_upgrade(context: Context, exchange: Exchange) -> None:
    """Accept the handshake, and serve the upload on this connection to its end."""
    began = trio.current_time()
    stream, request, timeouts = exchange.stream, exchange.request, context.config.timeouts
    key = request.headers["sec-websocket-key"].encode()
    reason, stored = "stopped at once", False
    exchange.log.info("connection.opened")
    try:
        async with open_transport(
            stream,
            key,
            request.surplus,
            timeout=timeouts.handshake,
            ping=timeouts.ping,
            part_size=context.store.part_size,
        ) as transport:
            connection = Connection(
                context,
                transport,
                exchange.client,
                exchange.log,
                exchange.grant,
                credential_of(request) if exchange.grant else None,
            )
            try:
                reason = await serve_files(connection)
            finally:
                stored = connection.stored > 0
        if not transport.peer_ended:
            await drop_until_quiet(stream, context.config.timeouts.close)
    except* TransportClosed as gone:
        reason = str(gone.exceptions[0])
    finally:
        seconds = round(trio.current_time() - began, 6)
        exchange.log.info("connection.closed", reason=reason, seconds=seconds, stored=stored)


def _is_key(key: str) -> bool:
    try:
        return len(base64.b64decode(key, validate=True)) == _KEY_BYTES
    except (binascii.Error, ValueError):  # ValueError: not ASCII
        return False
