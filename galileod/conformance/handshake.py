"""The HTTP/1.1 handshake of a WebSocket connection, in both roles."""

import base64
import binascii
import secrets
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

import attrs
import h11
import trio
from websockets.utils import accept_key

MAX_HEAD: Final = 64 * 1024
"""Bytes of a request's or response's head."""
MAX_BODY: Final = 4096
"""Bytes of a refusal's body that are kept."""

KEY_SIZE: Final = 16
"""Bytes of Sec-WebSocket-Key."""

_READ: Final = 65_536
_SWITCHING_PROTOCOLS: Final = 101

Headers = tuple[tuple[str, str], ...]


class HandshakeError(Exception):
    """The peer's handshake is not valid."""


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

    method: str
    version: str
    """Of HTTP: `1.1`."""
    target: str
    headers: Headers
    rest: bytes

    @property
    def key(self) -> str:
        """The value of Sec-WebSocket-Key; empty where there is none."""
        return _value(self.headers, "sec-websocket-key")

    @property
    def extensions(self) -> str:
        """The WebSocket extensions that the client offers."""
        return _value(self.headers, "sec-websocket-extensions")


Answer = Callable[[trio.abc.Stream, Request], Awaitable[None]]
"""Answers a client's handshake, rightly or not. May raise trio.BrokenResourceError."""


async def request_upgrade(
    stream: trio.abc.Stream, host: str, target: str, headers: Headers
) -> bytes:
    """Ask a server for WebSocket; return the bytes behind its answer.

    Raises Refused, and HandshakeError where the answer is not valid. Has no time limit of its own.
    """
    key = base64.b64encode(secrets.token_bytes(KEY_SIZE)).decode()
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
            _check_response(response, key, headers)
            return connection.trailing_data[0]
        if isinstance(response, h11.Response):
            body = await _body(connection, stream)
            raise Refused(response.status_code, _headers(response.headers), body)
    except (h11.ProtocolError, trio.BrokenResourceError) as error:
        raise HandshakeError(f"the server's answer to the handshake is not HTTP: {error}") from None
    raise HandshakeError("the server closed the connection before it answered the handshake")


async def receive_upgrade(stream: trio.abc.Stream, begun: bytes = b"") -> Request:
    """Read a client's handshake, which need not be one for WebSocket: see `mistakes`.

    `begun` are bytes that were read already. Raises HandshakeError where it is not HTTP. Has no
    time limit of its own.
    """
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
    try:
        if begun:
            connection.receive_data(begun)
        request = await _next(connection, stream)
        if not isinstance(request, h11.Request):
            raise HandshakeError("the client closed the connection before its handshake")
        await _next(connection, stream)  # the end of the request: it has no body
    except (h11.ProtocolError, trio.BrokenResourceError) as error:
        raise HandshakeError(f"the client's handshake is not HTTP: {error}") from None
    return Request(
        method=request.method.decode("ascii"),
        version=request.http_version.decode("ascii"),
        target=request.target.decode("ascii", "backslashreplace"),
        headers=_headers(request.headers),
        rest=connection.trailing_data[0],
    )


def mistakes(request: Request) -> Iterator[str]:
    """What RFC 6455 does not permit in a client's handshake: what was expected and what came."""
    if request.method != "GET":
        yield f"expected the method GET, but {request.method} came"
    if request.version != "1.1":
        yield f"expected HTTP/1.1, but HTTP/{request.version} came"
    for name, token in (("upgrade", "websocket"), ("connection", "upgrade")):
        value = _value(request.headers, name)
        if token not in _tokens(value):
            yield f"expected the header {name!r} to contain {token!r}, but {value!r} came"
    version = _value(request.headers, "sec-websocket-version")
    if version != "13":
        yield f"expected Sec-WebSocket-Version 13, but {version!r} came"
    try:
        size = len(base64.b64decode(request.key, validate=True))
    except binascii.Error:
        size = 0
    if size != KEY_SIZE:
        yield f"expected the base64 of 16 bytes as Sec-WebSocket-Key, but {request.key!r} came"


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


def _check_response(response: h11.InformationalResponse, key: str, asked: Headers) -> None:
    if response.status_code != _SWITCHING_PROTOCOLS:
        raise HandshakeError(f"the server answered the handshake with {response.status_code}")
    headers = _headers(response.headers)
    if _value(headers, "sec-websocket-accept") != accept_key(key):
        raise HandshakeError("the server's Sec-WebSocket-Accept does not match the key")
    for name, token in (("upgrade", "websocket"), ("connection", "upgrade")):
        if token not in _tokens(_value(headers, name)):
            raise HandshakeError(f"the server's answer has no header {name!r} with {token!r}")
    for name in ("sec-websocket-extensions", "sec-websocket-protocol"):
        selected = _tokens(_value(headers, name))
        if more := selected - _tokens(_value(asked, name)):
            raise HandshakeError(f"the server selects by {name} what was not offered: {more}")


def _value(headers: Headers, name: str) -> str:
    """All values of a header."""
    return ", ".join(value for key, value in headers if key.lower() == name)


def _tokens(value: str) -> set[str]:
    """The elements of a list, without their parameters, in lower case."""
    parts = (part.split(";")[0].strip().lower() for part in value.split(","))
    return {part for part in parts if part}


def _headers(headers: h11._headers.Headers) -> Headers:
    return tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in headers)
