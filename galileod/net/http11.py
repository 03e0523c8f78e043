"""HTTP on the port that uploads use: the request head, and every answer that is no upload."""

import base64
import binascii
import re
from collections.abc import Collection, Mapping
from enum import Enum
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qs, urlsplit

import h11
import trio
from attrs import field, frozen

MAX_HEAD: Final = 16 * 1024
"""Bytes in a request head; more is answered with 431."""

READ: Final = 4 * 1024
"""Bytes read at a time while the head is not whole; so many may be left over behind it."""

MAX_FIELDS: Final = 100
"""Parts of a query that are looked at; one with more holds nothing of ours."""

RETRY_AFTER: Final = 5
"""Seconds that a client is told to wait when we are full."""

_ORIGIN: Final = re.compile(r"([a-z][a-z0-9+.-]*://)(?:[^/?#\\\s]*@)?([^/?#@\\\s]+)", re.IGNORECASE)
_WEBSOCKET_VERSION: Final = "13"
_KEY_BYTES: Final = 16
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


class RequestAbandoned(Exception):  # noqa: N818  the ordinary end of a port scan
    """The peer went away before its request head was whole."""


@frozen
class Request:
    """A request head. Header names are lower case, texts are Latin-1; `surplus` came behind it.

    `scheme` and `host` (with its port) are those of the URL that the client asked for.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    surplus: bytes
    version: str = "1.1"
    scheme: str = "http"
    host: str = field()

    @host.default
    def _by_header(self) -> str:
        return self.headers.get("host", "")

    @property
    def path(self) -> str:
        """The path of the target, as sent, without the query."""
        try:
            return urlsplit(self.target).path
        except ValueError:  # a target such as //[ is no path of ours
            return ""

    @property
    def origin(self) -> str:
        """What the Origin header names as one, fit for a log: no path, no query, no password."""
        found = _ORIGIN.match(self.headers.get("origin", ""))
        return f"{found[1]}{found[2]}" if found else "null"

    @property
    def credential(self) -> str | None:
        """What proves who asks: a Bearer token (RFC 6750, section 2.1), or `?ticket=`."""
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return token.strip()
        try:
            query = parse_qs(urlsplit(self.target).query, max_num_fields=MAX_FIELDS)
        except ValueError:
            return None
        return query.get("ticket", [None])[0]

    def asks_upgrade(self) -> bool:
        """Whether this means to become a WebSocket."""
        return "websocket" in _tokens(self.headers.get("upgrade", ""))


@frozen
class Response:
    """An answer, in plain text where `headers` name no type; the connection ends after it.

    `refuses` says whether a client was turned away, which the log and the metrics tell.
    """

    status: int
    text: str
    headers: Mapping[str, str] = field(factory=dict)
    refuses: bool = field()

    @refuses.default
    def _by_status(self) -> bool:
        return self.status >= HTTPStatus.BAD_REQUEST


@frozen
class Upgrade:
    """The request is a sound WebSocket handshake; `key` is its Sec-WebSocket-Key."""

    key: bytes


class Monitor(Enum):
    """What is asked about the daemon itself; the value is the path."""

    HEALTH = "/healthz"
    METRICS = "/metrics"


_MONITORS: Final = {monitor.value: monitor for monitor in Monitor}


class RequestTimeout(Exception):  # noqa: N818  a verdict about the peer, not an error of ours
    """The request head was not whole in time; a peer that had begun one gets `response`."""

    def __init__(self, *, began: bool) -> None:
        super().__init__("the request head was not whole in time")
        self.response = Response(408, "The request took too long.") if began else None


class BadRequest(Exception):  # noqa: N818  carries an answer
    """The request head cannot be read; `response` says why."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.response = Response(status, text)


async def read_request(stream: trio.abc.ReceiveStream, timeout: float) -> Request:
    """Read a request head within `timeout` seconds.

    Raises RequestTimeout, RequestAbandoned, or BadRequest for what is no HTTP/1.x.
    """
    parser = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
    length = 0
    try:
        with trio.fail_after(timeout):
            while True:
                event = parser.next_event()
                if isinstance(event, h11.Request):
                    surplus = parser.trailing_data[0]
                    if length - len(surplus) > MAX_HEAD:  # h11 limits what is not whole yet
                        raise BadRequest(431, "The request head is too large.")
                    return _request(event, surplus)
                if event is not h11.NEED_DATA:
                    raise RequestAbandoned("the peer sent no request")
                data = await stream.receive_some(READ)
                length += len(data)
                if not data:
                    raise RequestAbandoned("the peer left before its request was whole")
                parser.receive_data(bytes(data))
    except trio.TooSlowError:
        raise RequestTimeout(began=length > 0) from None
    except trio.BrokenResourceError:
        raise RequestAbandoned("the connection was lost") from None
    except h11.RemoteProtocolError as error:
        # Behind a colon the library quotes the line that is wrong, which may hold a secret.
        what = str(error).partition(":")[0]
        raise BadRequest(error.error_status_hint, f"The request cannot be read: {what}.") from None


def answer(
    request: Request,
    paths: Collection[str],
    allowed_origins: Collection[str],
    site: Mapping[str, Response],
) -> Response | Upgrade | Monitor:
    """What to say to `request`, or what it wants to know about the daemon.

    `paths` accept uploads, from browsers whose Origin is our own or among `allowed_origins`.
    `site` is what else there is.
    """
    if request.method not in ("GET", "HEAD"):
        return Response(405, "Only GET is taken here.", {"Allow": "GET, HEAD"})
    if request.asks_upgrade():
        return _upgrade(request, paths, allowed_origins)
    if (monitor := _MONITORS.get(request.path)) is not None:
        return monitor
    if (found := site.get(request.path)) is not None:
        return _unless_known(request, found)
    if request.path in paths:
        return Response(426, "Uploads come over a WebSocket here.", {"Upgrade": "websocket"})
    return Response(404, "There is nothing here.")


def _unless_known(request: Request, found: Response) -> Response:
    """The answer, or 304 where the browser has it (RFC 9110, section 13.1.2)."""
    known = {
        tag.strip().removeprefix("W/")
        for tag in request.headers.get("if-none-match", "").split(",")
    }
    if known & {found.headers["ETag"], "*"}:
        kept = ("ETag", "Cache-Control", "Access-Control-Allow-Origin")
        headers = {name: found.headers[name] for name in kept if name in found.headers}
        return Response(304, "", headers)
    return found


def unauthorized(reason: str) -> Response:
    """The answer to a wrong credential."""
    return Response(401, reason, {"WWW-Authenticate": 'Bearer realm="galileod"'})


def busy(reason: str) -> Response:
    """The answer where there is no room."""
    return Response(503, reason, {"Retry-After": str(RETRY_AFTER)})


async def send_response(
    stream: trio.abc.SendStream, response: Response, timeout: float, *, head: bool = False
) -> None:
    """Send an answer within `timeout` seconds, or give up quietly: nobody waits for it then.

    With `head` the text stays away and its length is told all the same.
    """
    plain = "Content-Type" not in response.headers
    body = response.text.encode() + (b"\n" if plain else b"")
    headers = {
        "Content-Type": "text/plain; charset=utf-8",
        "Content-Length": str(len(body)),
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "Connection": "close",
        **response.headers,
    }
    if response.status == HTTPStatus.NOT_MODIFIED:
        body = b""
        del headers["Content-Type"], headers["Content-Length"]
    writer = h11.Connection(h11.SERVER)
    data = writer.send(
        h11.Response(
            status_code=response.status,
            headers=list(headers.items()),
            reason=HTTPStatus(response.status).phrase.encode(),
        )
    )
    with trio.move_on_after(timeout):
        try:
            await stream.send_all((data or b"") + (b"" if head else body))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the peer went away without its answer, as it may


def is_same_origin(origin: str, scheme: str, host: str) -> bool:
    """Whether a browser's Origin names the site at `host` (perhaps with a port)."""
    try:
        ours, theirs = urlsplit(f"{scheme}://{host}"), urlsplit(origin)
        usual = _DEFAULT_PORTS.get(scheme)
        same_port = (ours.port or usual) == (theirs.port or usual)
    except ValueError:
        return False
    same_host = ours.hostname is not None and ours.hostname == theirs.hostname
    return theirs.scheme == scheme and same_host and same_port


def _upgrade(
    request: Request, paths: Collection[str], allowed_origins: Collection[str]
) -> Response | Upgrade:
    if request.path not in paths:
        return Response(404, f"Uploads are taken at {', '.join(paths)}.")
    if not _origin_allowed(request, allowed_origins):
        return Response(403, "Pages of this origin may not upload here.")
    connection = _tokens(request.headers.get("connection", ""))
    if request.method != "GET" or request.version != "1.1" or "upgrade" not in connection:
        return Response(400, "A WebSocket handshake is a GET in HTTP/1.1, Connection: Upgrade.")
    if request.headers.get("sec-websocket-version") != _WEBSOCKET_VERSION:
        return Response(
            426, "Only WebSocket version 13 is spoken.",
            {"Upgrade": "websocket", "Sec-WebSocket-Version": _WEBSOCKET_VERSION},
        )  # fmt: skip
    key = request.headers.get("sec-websocket-key", "")
    if not _is_key(key):
        return Response(400, "A WebSocket handshake needs a Sec-WebSocket-Key of 16 bytes.")
    return Upgrade(key.encode())


def _is_key(key: str) -> bool:
    try:
        return len(base64.b64decode(key, validate=True)) == _KEY_BYTES
    except (binascii.Error, ValueError):  # ValueError: not ASCII
        return False


def _origin_allowed(request: Request, allowed_origins: Collection[str]) -> bool:
    origin = request.headers.get("origin")
    if origin is None or "*" in allowed_origins or origin in allowed_origins:
        return True
    return is_same_origin(origin, request.scheme, request.host)


def _tokens(value: str) -> set[str]:
    return {token.strip().lower() for token in value.split(",")}


def _request(event: h11.Request, surplus: bytes) -> Request:
    headers: dict[str, str] = {}
    for raw_name, raw_value in event.headers:
        name, value = raw_name.decode("ascii"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return Request(
        event.method.decode("ascii"),
        event.target.decode("latin-1"),
        headers,
        surplus,
        event.http_version.decode("ascii"),
    )
