"""HTTP before the WebSocket: the upgrade request, and CONNECT to a proxy (h11)."""

import base64
import hashlib
import os
import re
from typing import Final

import h11
import trio
from attrs import frozen

from galileod import __version__

from .address import Address, Proxy, without_zone
from .errors import BUSY_STATUSES, CREDENTIAL_HINT, ConnectError, UpgradeError

MAX_HEAD: Final = 64 * 1024
"""Maximum bytes of a response's head."""

MAX_BODY: Final = 2048
"""Maximum bytes that are read of the body of an error response; its first line is shown."""

BODY_TIMEOUT: Final = 2.0
"""Maximum seconds to read that body: the status is reported even if the body does not come."""

MAX_RETRY_AFTER: Final = 86_400.0
"""Maximum seconds of a Retry-After; a longer one is reduced to this."""

_READ: Final = 16 * 1024
_MAX_SHOWN: Final = 200
"""Maximum characters of a Location or of a body's first line in an error message."""
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_USER_AGENT: Final = f"galileo-send/{__version__}"
_HTTP: Final = b"HTTP/1."
_SWITCHING: Final = 101
_TLS_ALERT: Final = b"\x15\x03"
_PROXY_AUTHENTICATION: Final = 407
_REDIRECTS: Final = range(300, 400)
_HINTS: Final = {
    401: CREDENTIAL_HINT,
    403: "Check the URL and the token.",
    404: "Check the path in the URL.",
    426: "The server does not support this version of WebSocket.",
    **dict.fromkeys(BUSY_STATUSES, "Try again later."),
    **dict.fromkeys((502, 504), "A proxy cannot reach the server. Try again later."),
}


@frozen
class Answer:
    """A response. `surplus` are the bytes after its head if it switches the protocol."""

    status: int
    headers: dict[str, str]
    text: str = ""
    surplus: bytes = b""


async def upgrade(stream: trio.abc.Stream, address: Address, token: str | None) -> bytes:
    """Request the upgrade; returns the bytes that came after the response.

    Raises UpgradeError for another status, and ConnectError for no response or an invalid one.
    """
    key = base64.b64encode(os.urandom(16))
    headers = [
        ("Host", address.authority),
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", key.decode()),
        ("User-Agent", _USER_AGENT),
    ]
    if token is not None:
        headers.append(("Authorization", f"Bearer {token}"))
    request = h11.Request(method="GET", target=address.target, headers=headers)
    answer = await _request(stream, request, f"the server at {address}", tls_hint(address))
    if answer.status != _SWITCHING:
        raise _upgrade_error("The server", answer, _server_hint(answer))
    expected = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest()).decode()
    extra = {"sec-websocket-extensions", "sec-websocket-protocol"} & answer.headers.keys()
    if (
        answer.headers.get("upgrade", "").lower() != "websocket"
        or answer.headers.get("sec-websocket-accept") != expected
        or extra
    ):
        raise ConnectError(
            "The response to the upgrade is not that of a WebSocket server. Check the URL.",
            transient=False,
        )
    return answer.surplus


async def connect_through(stream: trio.abc.Stream, proxy: Proxy, host: str, port: int) -> None:
    """Ask a proxy to connect to a server (CONNECT). Raises UpgradeError and ConnectError."""
    host = without_zone(host)
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    headers = [("Host", target), ("User-Agent", _USER_AGENT)]
    if proxy.authorization is not None:
        headers.append(("Proxy-Authorization", proxy.authorization))
    request = h11.Request(method="CONNECT", target=target, headers=headers)
    answer = await _request(stream, request, f"the proxy {proxy}", "")
    if not 200 <= answer.status < 300:  # noqa: PLR2004  RFC 9110, 9.3.6: any 2xx
        hint = (
            "Put the user name and the password into the URL of the proxy."
            if answer.status == _PROXY_AUTHENTICATION
            else f"The request was for a connection to {target}."
        )
        raise _upgrade_error(f"The proxy {proxy}", answer, hint)
    if answer.surplus:
        raise ConnectError(f"The proxy {proxy} sent data before the client did.", transient=False)


def capitalized(text: str) -> str:
    """With the first letter in upper case, the others as they are."""
    return text[:1].upper() + text[1:]


def tls_hint(address: Address) -> str:
    """A hint for a missing response: many TLS servers close a plain connection without one.

    So does a load balancer without a server, which cannot be told from them.
    """
    if address.secure or address.unix:
        return ""
    return " If it uses TLS, use wss://; if it is a balancer, no server is behind it now."


async def _request(stream: trio.abc.Stream, request: h11.Request, peer: str, hint: str) -> Answer:
    """Send a request to `peer`. Raises ConnectError, with `hint` if there is no response."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
    head = connection.send(request) or b""
    connection.send(h11.EndOfMessage())
    unanswered = ConnectError(
        f"{capitalized(peer)} closed the connection without a response.{hint}"
    )
    try:
        await stream.send_all(head)
        while True:
            event = await _next_event(connection, stream)
            if isinstance(event, h11.InformationalResponse) and event.status_code != _SWITCHING:
                continue  # interim responses are ignored
            if isinstance(event, h11.Response | h11.InformationalResponse):
                break
            raise unanswered
        headers = {name.decode(): value.decode("latin-1") for name, value in event.headers}
        status = event.status_code
        if connection.their_state is h11.SWITCHED_PROTOCOL:
            return Answer(status, headers, surplus=connection.trailing_data[0])
        return Answer(status, headers, await _read_text(connection, stream))
    except h11.RemoteProtocolError:
        data, ended = connection.trailing_data
        if ended and _HTTP.startswith(data[: len(_HTTP)]):
            raise unanswered from None
        if data.startswith(_TLS_ALERT) and hint:
            raise ConnectError(
                f"{capitalized(peer)} uses TLS: use wss://.", transient=False
            ) from None
        raise ConnectError(
            f"{capitalized(peer)} does not speak HTTP. Check the host and the port.",
            transient=False,
        ) from None


async def _next_event(connection: h11.Connection, stream: trio.abc.Stream) -> object:
    while (event := connection.next_event()) is h11.NEED_DATA:
        connection.receive_data(bytes(await stream.receive_some(_READ)))
    return event


async def _read_text(connection: h11.Connection, stream: trio.abc.Stream) -> str:
    """The beginning of the body of an error response; less if it does not come in time."""
    body = b""
    # At most half of the time that is left, so that the status is reported and not a timeout.
    left = trio.current_effective_deadline() - trio.current_time()
    with trio.move_on_after(max(0.0, min(BODY_TIMEOUT, left / 2))):
        try:
            while len(body) < MAX_BODY:
                event = await _next_event(connection, stream)
                if not isinstance(event, h11.Data):
                    break
                body += bytes(event.data)
        except (h11.RemoteProtocolError, trio.BrokenResourceError):
            pass  # the status is known; the part of the body that came is used
    return body[:MAX_BODY].decode("utf-8", "replace")


def _server_hint(answer: Answer) -> str:
    if answer.status in _REDIRECTS and (place := answer.headers.get("location")):
        return f"It redirects to {place[:_MAX_SHOWN]}: use that URL."
    return _HINTS.get(answer.status, "Check the URL.")


def _upgrade_error(peer: str, answer: Answer, hint: str) -> UpgradeError:
    return UpgradeError(
        f"{peer} answered with HTTP {answer.status}{_first_line(answer)}. {hint}",
        answer.status,
        _retry_after(answer.headers.get("retry-after", "")),
    )


def _first_line(answer: Answer) -> str:
    """The first line of the body, in parentheses; empty for an HTML page."""
    line = answer.text.strip().partition("\n")[0].strip()
    if not line or line.startswith("<") or "html" in answer.headers.get("content-type", ""):
        return ""
    return f" ({line[:_MAX_SHOWN].rstrip('.')})"


def _retry_after(value: str) -> float | None:
    """Seconds of a Retry-After. A date is ignored: it would need synchronized clocks."""
    if not re.fullmatch(r"\d+", value.strip(), re.ASCII):
        return None
    return min(float(value), MAX_RETRY_AFTER)
