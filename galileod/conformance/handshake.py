"""The HTTP/1.1 handshake of a WebSocket connection, in both roles."""

import base64
import secrets
from typing import Final

import attrs
import h11
import trio
from websockets.utils import accept_key

MAX_HEAD: Final = 64 * 1024
"""Bytes of a request's or response's head."""
MAX_BODY: Final = 4096
"""Bytes of a refusal's body that are kept."""

_READ: Final = 65_536
_SWITCHING_PROTOCOLS: Final = 101

Headers = tuple[tuple[str, str], ...]


class HandshakeError(Exception):
    """The peer's handshake is no WebSocket handshake."""


@attrs.frozen
class Refused(Exception):  # noqa: N818  # an answer that a case may expect
    """The server answered the handshake with another status than 101."""

    status: int
    headers: Headers
    body: str

    def __str__(self) -> str:
        return f"the server refused the WebSocket handshake with status {self.status}"


@attrs.frozen
class Request:
    """A client's handshake, and the bytes that came behind it."""

    target: str
    headers: Headers
    key: str
    rest: bytes


async def request_upgrade(
    stream: trio.abc.Stream, host: str, target: str, headers: Headers
) -> bytes:
    """Ask a server for WebSocket; return the bytes behind its answer.

    Raises Refused, and HandshakeError where the answer is not valid. Has no time limit of its own.
    """
    key = base64.b64encode(secrets.token_bytes(16)).decode()
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
    request = h11.Request(
        method="GET",
        target=target,
        headers=[
            ("Host", host),
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Key", key),
            ("Sec-WebSocket-Version", "13"),
            *headers,
        ],
    )
    try:
        await stream.send_all(connection.send(request))
        connection.send(h11.EndOfMessage())
        response = await _next(connection, stream)
        if isinstance(response, h11.InformationalResponse):
            _check_response(response, key)
            return connection.trailing_data[0]
        if isinstance(response, h11.Response):
            body = await _body(connection, stream)
            raise Refused(response.status_code, _headers(response.headers), body)
    except (h11.ProtocolError, trio.BrokenResourceError) as error:
        raise HandshakeError(f"the server's answer to the handshake is not HTTP: {error}") from None
    raise HandshakeError("the server closed the connection before it answered the handshake")


async def receive_upgrade(stream: trio.abc.Stream) -> Request:
    """Read a client's handshake. Raises HandshakeError; has no time limit of its own."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
    try:
        request = await _next(connection, stream)
        if not isinstance(request, h11.Request):
            raise HandshakeError("the client closed the connection before its handshake")
        await _next(connection, stream)  # the end of the request: it has no body
    except (h11.ProtocolError, trio.BrokenResourceError) as error:
        raise HandshakeError(f"the client's handshake is not HTTP: {error}") from None
    headers = _headers(request.headers)
    key = dict(headers).get("sec-websocket-key")
    if key is None or dict(headers).get("upgrade", "").lower() != "websocket":
        raise HandshakeError("the client's request is no WebSocket handshake")
    target = request.target.decode("ascii", "backslashreplace")
    return Request(target, headers, key, connection.trailing_data[0])


async def accept_upgrade(stream: trio.abc.Stream, request: Request) -> None:
    """Answer a handshake with 101. Raises trio.BrokenResourceError."""
    await stream.send_all(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept_key(request.key).encode() + b"\r\n\r\n"
    )


async def _next(connection: h11.Connection, stream: trio.abc.Stream) -> object:
    while (event := connection.next_event()) is h11.NEED_DATA:
        data = bytes(await stream.receive_some(_READ))
        if not data and connection.their_state in {h11.IDLE, h11.SEND_RESPONSE}:
            return h11.ConnectionClosed()
        connection.receive_data(data)
    return event


async def _body(connection: h11.Connection, stream: trio.abc.Stream) -> str:
    body = b""
    while len(body) < MAX_BODY and isinstance(event := await _next(connection, stream), h11.Data):
        body += bytes(event.data)
    return body[:MAX_BODY].decode("utf-8", "backslashreplace")


def _check_response(response: h11.InformationalResponse, key: str) -> None:
    if response.status_code != _SWITCHING_PROTOCOLS:
        raise HandshakeError(f"the server answered the handshake with {response.status_code}")
    if dict(_headers(response.headers)).get("sec-websocket-accept") != accept_key(key):
        raise HandshakeError("the server's Sec-WebSocket-Accept does not match the key")


def _headers(headers: h11._headers.Headers) -> Headers:
    return tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in headers)
