"""What a plain HTTP peer, a browser on a foreign page or a bad handshake gets on the same port."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Final

import pytest
from helpers.clients import (
    Reply,
    ask,
    check_serves,
    expect_ready,
    open_websocket,
    read_all,
    read_head,
    request,
    say,
    unique_name,
)
from helpers.daemon import Daemon, Daemons, Settings, poll
from helpers.frames import TEXT, frame_header, signal_frame
from websockets.exceptions import InvalidStatus

KIB: Final = 1024


@pytest.fixture(scope="module")
def daemon_(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    settings: Settings = {
        "server": {"allowed_origins": ["https://friend.example"], "paths": ["/upload", "/here"]}
    }
    with Daemon(tmp_path_factory.mktemp("http"), settings) as host:
        yield host.start()


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon that waits for no one, and lets every page in."""
    settings: Settings = {"server": {"allowed_origins": ["*"]}, "timeouts": {"handshake": "500ms"}}
    with Daemon(tmp_path_factory.mktemp("hasty"), settings) as host:
        yield host.start()


@pytest.fixture
def host(daemon_: Daemon) -> Iterator[Daemon]:
    """A daemon that must serve uploads after each test as well."""
    yield daemon_
    check_serves(daemon_)


def plain(method: str, target: str, *headers: str) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", "Host: test", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def check_text(reply: Reply) -> None:
    """A plain answer: of known length, not to be sniffed or kept, and the end of the connection."""
    assert reply.headers["content-length"] == str(len(reply.body))
    assert reply.headers["content-type"].startswith("text/plain")
    assert reply.headers["connection"] == "close"
    assert reply.headers["cache-control"] == "no-store"
    assert reply.headers["x-content-type-options"] == "nosniff"


def test_health_is_told_to_get_and_head(host: Daemon) -> None:
    got = ask(host, plain("GET", "/healthz"))
    assert (got.status, got.body) == (200, b"ok\n")
    check_text(got)
    head = ask(host, plain("HEAD", "/healthz?verbose=1"))
    assert (head.status, head.body, head.headers) == (200, b"", got.headers)


def test_the_page_is_told_to_get_and_head_and_is_not_sent_twice(host: Daemon) -> None:
    got = ask(host, plain("GET", "/?from=a-link"))
    assert got.status == 200
    assert got.headers["content-type"] == "text/html; charset=utf-8"
    assert got.headers["content-length"] == str(len(got.body))
    assert got.headers["x-content-type-options"] == "nosniff"
    assert b'data-max-file-size="' in got.body
    head = ask(host, plain("HEAD", "/"))
    assert (head.status, head.body, head.headers) == (200, b"", got.headers)
    known = ask(host, plain("GET", "/", f"If-None-Match: {got.headers['etag']}"))
    assert (known.status, known.body) == (304, b"")


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (plain("GET", "/nothing"), 404),
        (plain("GET", "/upload/"), 404),
        (plain("GET", "//["), 404),
        (plain("GET", "/..%2fupload"), 404),
        (plain("GET", "/" + "a" * 8000), 404),
        (plain("GET", "/upload"), 426),
        (plain("HEAD", "/upload"), 426),
        (plain("POST", "/upload", "Content-Length: 3") + b"abc", 405),
        (plain("POST", "/healthz", "Transfer-Encoding: chunked") + b"0\r\n\r\n", 405),
        (plain("DELETE", "/file.txt"), 405),
        (plain("OPTIONS", "*"), 405),
        (plain("CONNECT", "example.org:443"), 405),
        (b"nonsense\r\n\r\n", 400),
        (b"GET /healthz\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: test\r\nbad header\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: test\r\nContent-Length: x\r\n\r\n", 400),
        (b"GET /\xff HTTP/1.1\r\nHost: test\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    ],
)
def test_a_plain_request_gets_the_status_that_fits(host: Daemon, head: bytes, status: int) -> None:
    reply = ask(host, head)
    assert reply.status == status
    if not head.startswith(b"HEAD"):
        check_text(reply)
    if status == 405:
        assert {method.strip() for method in reply.headers["allow"].split(",")} == {"GET", "HEAD"}
    if status == 426:
        assert reply.headers["upgrade"] == "websocket"


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (request(headers={"Connection": None}), 400),
        (request(headers={"Connection": "keep-alive"}), 400),
        (request(headers={"Upgrade": None}), 426),
        (request(headers={"Upgrade": "h2c"}), 426),
        (request(headers={"Sec-WebSocket-Version": None}), 426),
        (request(headers={"Sec-WebSocket-Version": "8"}), 426),
        (request(headers={"Sec-WebSocket-Version": "13, 8"}), 426),
        (request(headers={"Sec-WebSocket-Key": None}), 400),
        (request(headers={"Sec-WebSocket-Key": ""}), 400),
        (request(headers={"Sec-WebSocket-Key": "c2hvcnQ="}), 400),
        (request(headers={"Sec-WebSocket-Key": "*" * 24}), 400),
        (request(headers={"Sec-WebSocket-Key": "\xff" * 24}), 400),
        (request(headers={"sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ=="}), 400),
        (request(headers={"Host": None}), 400),
        (request(method="POST"), 405),
        (request(version="1.0"), 400),
        (request("/elsewhere"), 404),
        (request("/healthz"), 404),
    ],
)
def test_a_handshake_with_something_wrong_is_no_upgrade(
    host: Daemon, head: bytes, status: int
) -> None:
    reply = ask(host, head)
    assert reply.status == status
    check_text(reply)


@pytest.mark.parametrize("version", [None, "8"])
def test_a_wrong_websocket_version_is_told_the_right_one(host: Daemon, version: str | None) -> None:
    reply = ask(host, request(headers={"Sec-WebSocket-Version": version}))
    assert reply.headers["sec-websocket-version"] == "13"


@pytest.mark.parametrize("size", [16 * KIB + 1, 20 * KIB, 1024 * KIB])
@pytest.mark.parametrize("whole", [True, False], ids=["whole", "unfinished"])
def test_a_head_above_16_kib_is_too_large(host: Daemon, size: int, *, whole: bool) -> None:
    start = b"GET /healthz HTTP/1.1\r\nHost: test\r\nX-Filler: "
    head = start + b"a" * (size - len(start) - 4) + (b"\r\n\r\n" if whole else b"aaaa")
    assert len(head) == size
    reply = ask(host, head)
    assert reply.status == 431
    check_text(reply)


def test_a_head_of_16_kib_is_read(host: Daemon) -> None:
    start = b"GET /healthz HTTP/1.1\r\nHost: test\r\nX-Filler: "
    head = start + b"a" * (16 * KIB - len(start) - 4) + b"\r\n\r\n"
    assert ask(host, head).status == 200


ORIGINS: Final = [
    ("http://evil.example", "files.example", 403),
    ("null", "files.example", 403),
    ("", "files.example", 403),
    ("http://files.example.evil.example", "files.example", 403),
    ("http://files.example:81", "files.example", 403),
    ("https://files.example", "files.example", 403),
    ("http://friend.example", "files.example", 403),
    ("https://friend.example:444", "files.example", 403),
    ("http://[", "files.example", 403),
    ("\xff\xfe", "files.example", 403),
    ("http://files.example", "files.example", 101),
    ("http://files.example", "files.example:80", 101),
    ("http://FILES.example:8750", "files.EXAMPLE:8750", 101),
    ("http://[::1]:8750", "[::1]:8750", 101),
    ("https://friend.example", "files.example", 101),
    (None, "files.example", 101),
]


@pytest.mark.parametrize(("origin", "name", "status"), ORIGINS)
def test_only_pages_of_its_own_or_of_friends_may_upload(
    host: Daemon, origin: str | None, name: str, status: int
) -> None:
    assert ask(host, request(headers={"Origin": origin, "Host": name})).status == status


@pytest.mark.parametrize("origin", ["http://evil.example", "null", None])
def test_a_star_lets_every_page_in(hasty: Daemon, origin: str | None) -> None:
    assert ask(hasty, request(headers={"Origin": origin})).status == 101


@pytest.mark.parametrize(
    ("limits", "elsewhere"),
    [
        pytest.param({"max_connections": 2}, 503, id="in all"),
        pytest.param({"max_connections_per_address": 2}, 101, id="per address"),
    ],
)
def test_who_comes_when_it_is_full_is_told_to_come_back(
    daemon: Daemons, limits: dict[str, object], elsewhere: int
) -> None:
    small = daemon({"server": limits})
    with ExitStack() as stack:
        for _ in range(2):
            connection = stack.enter_context(closing(small.dial()))
            connection.sendall(request())
            assert read_head(connection).status == 101
        for head in (request(), plain("GET", "/healthz")):
            reply = ask(small, head)
            assert reply.status == 503
            assert int(reply.headers["retry-after"]) > 0
            check_text(reply)
        other = socket.create_connection(small.address, 10, source_address=("127.0.0.2", 0))
        assert ask(small, request(), sock=other).status == elsewhere
    poll("room again", lambda: ask(small, plain("GET", "/healthz")).status == 200)
    check_serves(small)


@pytest.mark.parametrize(
    ("sent", "status"),
    [(b"", None), (b"G", 408), (request()[:-2], 408)],
    ids=["nothing", "a byte", "all but the end"],
)
def test_a_head_that_does_not_come_in_time_ends_the_connection(
    hasty: Daemon, sent: bytes, status: int | None
) -> None:
    with hasty.dial() as connection:
        connection.sendall(sent)
        if status is None:
            assert connection.recv(1) == b""
        else:
            assert read_head(connection).status == status
            read_all(connection)
    check_serves(hasty)


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (plain("GET", "/healthz", "X-Name: \xff\xfe\x80"), 200),
        (plain("GET", "/healthz", "Cookie: a=\xe9"), 200),
        (request(headers={"User-Agent": "\xff"}), 101),
        (request(headers={"Sec-WebSocket-Protocol": "\xe9"}), 101),
        (request(headers={"Sec-WebSocket-Extensions": "\xff"}), 101),
        (request(headers={"Connection": "upgrade, \xff"}), 101),
    ],
)
def test_header_bytes_outside_ascii_do_no_harm(host: Daemon, head: bytes, status: int) -> None:
    assert ask(host, head).status == status


@pytest.mark.parametrize("padding", [0, 3 * KIB, 4 * KIB, 9 * KIB])
@pytest.mark.parametrize("step", [None, 100], ids=["one packet", "pieces"])
def test_metadata_right_behind_the_head_is_not_lost(
    host: Daemon, padding: int, step: int | None
) -> None:
    head = request(headers={"X-Filler": "a" * padding})
    name = unique_name(".txt")
    data = head + signal_frame(name=name, size=7, comment="c" * 2000)
    with host.dial() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(0, len(data), step or len(data)):
            connection.sendall(data[start : start + (step or len(data))])
        reply = read_head(connection)
        assert reply.status == 101
        answer = reply.body
        while len(answer) < 2:
            answer += connection.recv(4096)
        assert answer[0] == 0x80 | TEXT
        connection.sendall(frame_header(0x82, 7) + bytes(7))
    host.wait_for("upload.failed", name=name, received=7)


@pytest.mark.parametrize(
    "offer",
    [
        "permessage-deflate",
        "permessage-deflate; client_max_window_bits, x-webkit-deflate-frame",
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
    ],
)
def test_no_extension_and_no_subprotocol_is_ever_accepted(host: Daemon, offer: str) -> None:
    head = request(
        headers={"Sec-WebSocket-Extensions": offer, "Sec-WebSocket-Protocol": "chat, galileo"}
    )
    reply = ask(host, head)
    assert reply.status == 101
    assert reply.headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert not {"sec-websocket-extensions", "sec-websocket-protocol"} & reply.headers.keys()


def test_a_client_that_would_compress_uploads_without(host: Daemon) -> None:
    with open_websocket(host.url, compression="deflate") as websocket:
        assert not websocket.protocol.extensions
        say(websocket, name=unique_name(), size=0)
        expect_ready(websocket)


@pytest.mark.parametrize(("path", "status"), [("/here", 101), ("/upload", 101), ("/", 404)])
def test_uploads_are_taken_at_the_configured_paths_alone(
    host: Daemon, path: str, status: int
) -> None:
    assert ask(host, request(f"{path}?token=1")).status == status


def test_a_refused_browser_sees_the_status(host: Daemon) -> None:
    with (
        pytest.raises(InvalidStatus) as caught,
        open_websocket(host.url, origin="http://evil.example"),
    ):
        pass
    assert caught.value.response.status_code == 403
    refused = host.wait_for("connection.refused", status=403, origin="http://evil.example")
    assert refused["reason"]
