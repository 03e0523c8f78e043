"""HTTP before the WebSocket: the request for the upgrade, and CONNECT to a proxy (h11)."""

import base64
import hashlib
import os
import re
from typing import Final

import h11
import trio
from attrs import frozen

from galileod import __version__

from .address import Address, Proxy
from .errors import ConnectError, UpgradeError

MAX_HEAD: Final = 64 * 1024
"""Bytes of an answer's head."""

MAX_BODY: Final = 2048
"""Bytes of a refusal's text that are read; the first line of them is shown."""

BODY_TIME: Final = 2.0
"""Seconds for that text: the status has said what matters, and must not be lost over it."""

MAX_RETRY_AFTER: Final = 86_400.0
"""Seconds; what asks for more is not meant for us."""

_READ: Final = 16 * 1024
_SHOWN: Final = 200
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_USER_AGENT: Final = f"galileo-send/{__version__}"
_HTTP: Final = b"HTTP/1."
_SWITCHING: Final = 101
_TLS_ALERT: Final = b"\x15\x03"
_PROXY_AUTHENTICATION: Final = 407
_REDIRECTS: Final = range(300, 400)
_HINTS: Final = {
    401: "Put a token into $GALILEO_TOKEN, or into a file for --token-file.",
    403: "Check the URL and the token.",
    404: "Check the path in the URL.",
    426: "The server does not speak this version of WebSocket.",
    429: "Try again later.",
    502: "Try again later.",
    503: "Try again later.",
    504: "Try again later.",
}


@frozen
class Answer:
    """An answer to a request; `surplus` is what came behind its head where protocols switch."""

    status: int
    headers: dict[str, str]
    text: str = ""
    surplus: bytes = b""


async def upgrade(stream: trio.abc.Stream, address: Address, token: str | None) -> bytes:
    """Ask for a WebSocket; gives the bytes that came behind the answer.

    Raises UpgradeError for a refusal, and ConnectError for what is no answer at all.
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
    answer = await _ask(stream, request, str(address), perhaps_tls(address))
    if answer.status != _SWITCHING:
        raise _refusal("The server", answer, _server_hint(answer))
    proof = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest()).decode()
    extra = {"sec-websocket-extensions", "sec-websocket-protocol"} & answer.headers.keys()
    if (
        answer.headers.get("upgrade", "").lower() != "websocket"
        or answer.headers.get("sec-websocket-accept") != proof
        or extra
    ):
        raise ConnectError(
            "The server's answer to the upgrade is not that of a WebSocket server. Check the URL.",
            transient=False,
        )
    return answer.surplus


async def connect_through(stream: trio.abc.Stream, proxy: Proxy, host: str, port: int) -> None:
    """Ask a proxy for a connection to a server. Raises UpgradeError, ConnectError."""
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    headers = [("Host", target), ("User-Agent", _USER_AGENT)]
    if proxy.authorization is not None:
        headers.append(("Proxy-Authorization", proxy.authorization))
    request = h11.Request(method="CONNECT", target=target, headers=headers)
    answer = await _ask(stream, request, f"the proxy {proxy}", "")
    if not 200 <= answer.status < 300:  # noqa: PLR2004  RFC 9110, 9.3.6: any 2xx will do
        hint = (
            "Put the user and the password into the proxy's URL."
            if answer.status == _PROXY_AUTHENTICATION
            else f"It was asked for a connection to {target}."
        )
        raise _refusal(f"The proxy {proxy}", answer, hint)
    if answer.surplus:
        raise ConnectError(f"The proxy {proxy} spoke out of turn.", transient=False)


def perhaps_tls(address: Address) -> str:
    """A hint for where a server says nothing: many that speak TLS do not answer other things."""
    return "" if address.secure or address.unix else " If it speaks TLS, take wss."


async def _ask(stream: trio.abc.Stream, request: h11.Request, who: str, hint: str) -> Answer:
    """Ask; `who` is asked, and `hint` follows where there is no answer. Raises ConnectError."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
    head = connection.send(request) or b""
    connection.send(h11.EndOfMessage())
    unanswered = ConnectError(f"{who} closed the connection without an answer.{hint}")
    try:
        await stream.send_all(head)
        while True:
            event = await _next_event(connection, stream)
            if isinstance(event, h11.InformationalResponse) and event.status_code != _SWITCHING:
                continue  # an interim answer, which says nothing to us
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
            raise ConnectError(f"{who} speaks TLS: take wss.", transient=False) from None
        raise ConnectError(
            f"What answers at {who} does not speak HTTP. Check host and port.", transient=False
        ) from None


async def _next_event(connection: h11.Connection, stream: trio.abc.Stream) -> object:
    while (event := connection.next_event()) is h11.NEED_DATA:
        connection.receive_data(bytes(await stream.receive_some(_READ)))
    return event


async def _read_text(connection: h11.Connection, stream: trio.abc.Stream) -> str:
    """The beginning of a refusal's body; a body that is cut off is better than none."""
    body = b""
    # In half the time that is left at the most, so that what was said is told and no time-out.
    left = trio.current_effective_deadline() - trio.current_time()
    with trio.move_on_after(max(0.0, min(BODY_TIME, left / 2))):
        try:
            while len(body) < MAX_BODY:
                event = await _next_event(connection, stream)
                if not isinstance(event, h11.Data):
                    break
                body += bytes(event.data)
        except (h11.RemoteProtocolError, trio.BrokenResourceError):
            pass  # the head has said what matters
    return body[:MAX_BODY].decode("utf-8", "replace")


def _server_hint(answer: Answer) -> str:
    if answer.status in _REDIRECTS and (place := answer.headers.get("location")):
        return f"It points to {place[:_SHOWN]}: use that."
    return _HINTS.get(answer.status, "Check the URL.")


def _refusal(who: str, answer: Answer, hint: str) -> UpgradeError:
    said = _first_line(answer)
    return UpgradeError(
        f"{who} answered with HTTP {answer.status}{said}. {hint}",
        answer.status,
        _retry_after(answer.headers.get("retry-after", "")),
    )


def _first_line(answer: Answer) -> str:
    """What a person may read in it; a page in HTML is not that."""
    line = answer.text.strip().partition("\n")[0].strip()
    if not line or line.startswith("<") or "html" in answer.headers.get("content-type", ""):
        return ""
    return f" ({line[:_SHOWN].rstrip('.')})"


def _retry_after(value: str) -> float | None:
    """Seconds. The other form, a date, would need their clock to be ours."""
    if not re.fullmatch(r"\d{1,9}", value.strip(), re.ASCII):
        return None
    return min(float(value), MAX_RETRY_AFTER)
