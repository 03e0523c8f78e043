"""The routing table: which row serves a request, or why none does."""

from typing import cast

import pytest
import trio
from attrs import evolve, frozen
from structlog import get_logger

from galileod.config.model import Config
from galileod.net.addresses import UNIX_PEER
from galileod.net.http11 import Refused, Request, Response
from galileod.net.peer import Peer
from galileod.net.settings import Server
from galileod.server.authorize import Access
from galileod.server.exchange import Exchange, busy
from galileod.server.routes import Route, Routes, public_routes, respond
from galileod.server.upgrade import require_upgrade
from galileod.uploads.context import Context

pytestmark = pytest.mark.timeout(30)

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
SOUND = {
    "host": "files.example:8750",
    "connection": "keep-alive, Upgrade",
    "upgrade": "WebSocket",
    "sec-websocket-version": "13",
    "sec-websocket-key": KEY,
}


def request(
    target: str = "/", method: str = "GET", headers: dict[str, str | None] | None = None
) -> Request:
    """A sound upgrade request with some headers exchanged, or left out where they are None."""
    merged = {**SOUND, **(headers or {})}
    kept = {name: value for name, value in merged.items() if value is not None}
    return Request(method, target, kept, b"")


@frozen
class Holder:
    """What the table needs of the context."""

    config: Config


def context(server: Server | None = None) -> Context:
    return cast("Context", Holder(Config(server=server or Server())))


def find(asked: Request, server: Server | None = None) -> Route | Refused:
    """The row of a server without a page, or the refusal."""
    try:
        return public_routes(context(server), {}, lambda: 0).find(asked)
    except Refused as refused:
        return refused


def refusal(asked: Request) -> Response:
    found = find(asked)
    assert isinstance(found, Refused)
    assert found.response
    return found.response


# The table of the server.


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        (request(), 101),
        (request("/upload?token=x"), 101),
        (request("http://files.example/upload"), 101),
        (request("/other"), 404),
        (request("//["), 404),
        (request("*"), 404),
        (request("/upload/"), 404),
        (request(method="POST"), 405),
        (request(method="HEAD"), 400),
        (request(headers={"connection": "keep-alive"}), 400),
        (request(headers={"connection": None}), 400),
        (request(headers={"upgrade": "h2c, websocket"}), 101),
        (request(headers={"sec-websocket-version": "8"}), 426),
        (request(headers={"sec-websocket-version": "13, 8"}), 426),
        (request(headers={"sec-websocket-version": None}), 426),
        (request(headers={"sec-websocket-key": None}), 400),
        (request(headers={"sec-websocket-key": "c2hvcnQ="}), 400),
        (request(headers={"sec-websocket-key": KEY + "!"}), 400),
        (request(headers={"sec-websocket-key": "\xe4" * 24}), 400),
        (request(headers={"sec-websocket-key": f"{KEY}, {KEY}"}), 400),
        (request(headers={"origin": "http://files.example:8750"}), 101),
        (request(headers={"origin": "http://friend.example"}), 101),
        (request(headers={"origin": "http://friend.example:81"}), 403),
        (request(headers={"origin": "http://foe.example"}), 403),
        (request(headers={"origin": "null"}), 403),
        (request(headers={"origin": ""}), 403),
        (request("/other", headers={"origin": "http://foe.example"}), 404),
        (request(headers={"upgrade": None}), 426),
        (request("/upload", headers={"upgrade": "h2c"}), 426),
        (request("/nothing", headers={"upgrade": None}), 404),
        (request("/nothing", "HEAD", headers={"upgrade": None}), 404),
        (request("/healthz", headers={"upgrade": None}), "/healthz"),
        (request("/healthz", "HEAD", headers={"upgrade": None}), "/healthz"),
        (request("/healthz?x", headers={"upgrade": None}), "/healthz"),
        (request("/metrics", headers={"upgrade": None}), "/metrics"),
        (request("/metrics?x", "HEAD", headers={"upgrade": None}), "/metrics"),
        (request("/metrics", "POST", headers={"upgrade": None}), 405),
        (request("/metrics"), 404),
        (request("/healthz", "DELETE", headers={"upgrade": None}), 405),
    ],
)
def test_what_is_said_to_a_request(asked: Request, status: int | str) -> None:
    found = find(asked, Server(allowed_origins=("http://friend.example",)))
    match found:
        case Refused(response=response):
            assert response
            assert response.status == status
        case Route(websocket=True):
            assert status == 101
        case Route(path=path, handler=handler) if handler is require_upgrade:
            assert (path, status) == (asked.path, 426)
        case Route(path=path):
            assert path == status


@pytest.mark.parametrize("origin", ["http://foe.example", "null", ""])
def test_a_star_lets_every_origin_in(origin: str) -> None:
    found = find(request(headers={"origin": origin}), Server(allowed_origins=("*",)))
    assert isinstance(found, Route)


def test_refusals_name_what_would_have_been_right() -> None:
    method = refusal(request(method="PUT"))
    version = refusal(request(headers={"sec-websocket-version": "8"}))
    assert method.headers["Allow"] == "GET, HEAD"
    assert version.headers == {"Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    assert busy("x").headers == {"Retry-After": "5"}


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("https://uploads.example", 101),
        ("http://uploads.example", 403),
        ("https://files.example:8750", 403),
        ("http://files.example:8750", 403),
    ],
)
def test_our_own_origin_is_the_one_that_the_client_asked_for(origin: str, status: int) -> None:
    asked = evolve(request(headers={"origin": origin}), scheme="https", host="uploads.example")
    match find(asked):
        case Refused(response=response):
            assert response
            assert response.status == status
        case Route():
            assert status == 101


# Any table.


async def hello(exchange: Exchange) -> Response:
    return Response(200, f"hello {exchange.request.method}")


TABLE = Routes(
    Route("/a", hello),
    Route("/a", require_upgrade),
    Route("/b", hello, ("POST", "DELETE")),
    Route("/c", hello, when_full=True),
    Route("/mine", hello, access=Access.OWNER),
)


async def ask(
    method: str, path: str, *, busy: str | None = None, is_owner: bool = False
) -> Response:
    asked = Request(method, path, {"upgrade": "websocket"}, b"")
    peer = Peer(UNIX_PEER, UNIX_PEER, UNIX_PEER)
    stream = cast("trio.SocketStream", None)
    exchange = Exchange(asked, stream, peer, peer, get_logger(), busy, is_owner)
    response = await respond(TABLE, exchange, context())
    assert response
    return response


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/a?x", Response(200, "hello GET")),
        ("HEAD", "/a", Response(200, "hello HEAD")),
        ("POST", "/b", Response(200, "hello POST")),
        ("DELETE", "/b", Response(200, "hello DELETE")),
        ("POST", "/a", Response(405, "Only GET is allowed here.", {"Allow": "GET, HEAD"})),
        (
            "GET", "/b",
            Response(405, "Only POST or DELETE is allowed here.", {"Allow": "POST, DELETE"}),
        ),
        (
            "PUT", "/a",
            Response(
                405, "Only GET or POST or DELETE is allowed here.",
                {"Allow": "GET, HEAD, POST, DELETE"},
            ),
        ),
        ("POST", "/nothing", Response(404, "Not found.")),
    ],
)  # fmt: skip
async def test_a_row_is_found_by_path_and_method(
    method: str, path: str, expected: Response
) -> None:
    assert await ask(method, path) == expected


@pytest.mark.parametrize("path", ["/a", "/b", "/mine", "/nothing"])
async def test_while_no_work_is_accepted_that_is_the_reason_for_everything(path: str) -> None:
    assert await ask("GET", path, busy="Full.") == busy("Full.")


async def test_a_row_may_be_served_all_the_same() -> None:
    assert (await ask("GET", "/c", busy="Full.")).status == 200


async def test_a_row_for_the_owner_is_for_nobody_else() -> None:
    assert (await ask("GET", "/mine")).status == 403
    assert (await ask("GET", "/mine", is_owner=True)).status == 200
