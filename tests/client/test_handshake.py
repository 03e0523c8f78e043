"""HTTP before the WebSocket, over a stream in memory: what is asked, and what answers mean."""

import base64
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from itertools import pairwise

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import memory_stream_pair

from galileod.client.address import Address, Proxy
from galileod.client.errors import ConnectError, UpgradeError
from galileod.client.handshake import MAX_HEAD, MAX_RETRY_AFTER, connect_through, upgrade

HERE = Address("server.example", 8750, secure=False, target="/upload?a=b")
THERE = Proxy("proxy.example", 3128, secure=False, authorization="Basic bWU6cGFzcw==")

Ask = Callable[[trio.abc.Stream], Awaitable[bytes | None]]
Respond = Callable[[dict[str, str]], bytes]


async def talk(ask: Ask, respond: Respond, cuts: Sequence[int] = ()) -> tuple[str, bytes | None]:
    """The request line that was sent, and what came of the answer; `cuts` are where it is cut."""
    ours, theirs = memory_stream_pair()
    result: bytes | None = None
    line = ""

    async def serve() -> None:
        nonlocal line
        head = b""
        while b"\r\n\r\n" not in head:
            head += await theirs.receive_some()
        line, *headers = head.decode().strip().split("\r\n")
        pairs = (header.partition(": ")[::2] for header in headers)
        answer = respond({name.lower(): value for name, value in pairs})
        edges = [0, *sorted(cut % (len(answer) + 1) for cut in cuts), len(answer)]
        for begin, end in pairwise(edges):
            await theirs.send_all(answer[begin:end])
            await trio.testing.wait_all_tasks_blocked()
        await theirs.send_eof()

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            try:
                result = await ask(ours)
            except ConnectError as error:
                nursery.cancel_scope.cancel()
                failure: ConnectError | None = error
            else:
                failure = None
    if failure:
        raise failure
    return line, result


def asks(token: str | None = None) -> Ask:
    return lambda stream: upgrade(stream, HERE, token)


def accepted(headers: dict[str, str]) -> bytes:
    proof = headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    digest = hashlib.sha1(proof.encode(), usedforsecurity=False).digest()
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + base64.b64encode(digest) + b"\r\n\r\n"
    )


def says(text: str) -> Respond:
    return lambda _: text.replace("\n", "\r\n").encode()


async def test_the_request_is_that_of_rfc_6455() -> None:
    seen: dict[str, str] = {}

    def respond(headers: dict[str, str]) -> bytes:
        seen.update(headers)
        return accepted(headers)

    line, _ = await talk(asks("secret"), respond)
    assert line == "GET /upload?a=b HTTP/1.1"
    assert len(base64.b64decode(seen.pop("sec-websocket-key"))) == 16
    assert seen.pop("user-agent").startswith("galileo-send/")
    assert seen == {
        "host": "server.example:8750",
        "connection": "Upgrade",
        "upgrade": "websocket",
        "sec-websocket-version": "13",
        "authorization": "Bearer secret",
    }


@given(st.lists(st.integers(0, 400), max_size=5))
@settings(max_examples=50, deadline=None)
def test_what_comes_behind_the_answer_is_kept_however_it_is_cut(cuts: list[int]) -> None:
    frame = b"\x81\x0e" + b'{"ready":true}'
    interim = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"

    async def run() -> None:
        surplus = b""

        async def ask(stream: trio.abc.Stream) -> bytes:
            nonlocal surplus
            surplus = await upgrade(stream, HERE, None)
            while len(surplus) < len(frame):
                surplus += await stream.receive_some()
            return surplus

        await talk(ask, lambda headers: interim + accepted(headers) + frame, cuts)
        assert surplus == frame

    trio.run(run)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"Upgrade: websocket", b"Upgrade: h2c"),
        (b"Sec-WebSocket-Accept: ", b"Sec-WebSocket-Accept: x"),
        (b"Connection: Upgrade\r\n", b"Sec-WebSocket-Protocol: chat\r\n"),
        (b"Connection: Upgrade\r\n", b"Sec-WebSocket-Extensions: permessage-deflate\r\n"),
    ],
)
async def test_an_upgrade_that_was_not_asked_for_is_none(old: bytes, new: bytes) -> None:
    with pytest.raises(ConnectError, match="not that of a WebSocket server") as raised:
        await talk(asks(), lambda headers: accepted(headers).replace(old, new))
    assert not raised.value.transient


@pytest.mark.parametrize(
    ("answer", "status", "retry_after", "sentence"),
    [
        ("401 No\n\n", 401, None, "HTTP 401. Put a valid token into $GALILEO_TOKEN"),
        (
            "404 No\nContent-Length: 9\n\nNot here.",
            404,
            None,
            "HTTP 404 (Not here). Check the path",
        ),
        ("418 No\n\n", 418, None, "HTTP 418. Check the URL."),
        ("503 No\nRetry-After: 7\n\nFull.\nOf us.", 503, 7, "HTTP 503 (Full). Try again later."),
        ("503 No\nRetry-After: 999999999\n\n", 503, MAX_RETRY_AFTER, "HTTP 503."),
        ("503 No\nRetry-After: 99999999999999\n\n", 503, MAX_RETRY_AFTER, "HTTP 503."),
        (f"503 No\nRetry-After: {'9' * 5000}\n\n", 503, MAX_RETRY_AFTER, "HTTP 503."),
        ("503 No\nRetry-After: Mon, 01 Jan 2029 00:00:00 GMT\n\n", 503, None, "HTTP 503."),
        ("503 No\nRetry-After: -1\n\n", 503, None, "HTTP 503."),
        ("301 No\nLocation: wss://b.example/\n\n", 301, None, "It redirects to wss://b.example/:"),
        ("403 No\nContent-Type: text/html\n\nForbidden", 403, None, "HTTP 403. Check"),
        (
            "502 No\n\n<html>",
            502,
            None,
            "HTTP 502. A proxy cannot reach the server.",
        ),
        ("400 No\nContent-Length: 99\n\nCut off", 400, None, "HTTP 400 (Cut off). Check the URL."),
        ("200 OK\n\n" + "x" * 9999, 200, None, f"HTTP 200 ({'x' * 200}). Check the URL."),
    ],
)
async def test_a_refusal_is_told_in_a_sentence(
    answer: str, status: int, retry_after: float | None, sentence: str
) -> None:
    with pytest.raises(UpgradeError) as raised:
        await talk(asks(), says(f"HTTP/1.1 {answer}"))
    assert (raised.value.status, raised.value.retry_after) == (status, retry_after)
    assert sentence in str(raised.value)
    assert raised.value.transient is (status in (502, 503))


@pytest.mark.parametrize(
    ("answer", "sentence", "transient"),
    [
        ("", "closed the connection without a response", True),
        ("HTT", "closed the connection without a response", True),
        ("HTTP/1.1 101 Swi", "closed the connection without a response", True),
        ("220 mail.example ESMTP\n", "does not speak HTTP", False),
        ("HTTP/1.1 200 OK\nA: " + "x" * MAX_HEAD, "does not speak HTTP", False),
    ],
)
async def test_what_is_no_answer_is_told(answer: str, sentence: str, *, transient: bool) -> None:
    with pytest.raises(ConnectError, match=sentence) as raised:
        await talk(asks(), says(answer))
    assert not isinstance(raised.value, UpgradeError)
    assert raised.value.transient is transient


@pytest.mark.parametrize(
    ("host", "target"),
    [("server.example", "server.example:443"), ("2001:db8::1", "[2001:db8::1]:443")],
)
@pytest.mark.parametrize("status", ["200 OK", "204 Fine"])
async def test_a_proxy_is_asked_for_a_connection(host: str, target: str, status: str) -> None:
    seen: dict[str, str] = {}

    def respond(headers: dict[str, str]) -> bytes:
        seen.update(headers)
        return f"HTTP/1.1 {status}\r\n\r\n".encode()

    line, _ = await talk(lambda stream: connect_through(stream, THERE, host, 443), respond)
    assert line == f"CONNECT {target} HTTP/1.1"
    assert seen["host"] == target
    assert seen["proxy-authorization"] == THERE.authorization


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ("HTTP/1.1 407 Who\n\n", "The proxy proxy.example:3128 answered with HTTP 407"),
        (
            "HTTP/1.1 200 OK\n\nhello",
            "The proxy proxy.example:3128 sent data before the client did",
        ),
    ],
)
async def test_a_proxy_that_does_not_connect_is_told(answer: str, sentence: str) -> None:
    with pytest.raises(ConnectError) as raised:
        await talk(
            lambda stream: connect_through(stream, THERE, "server.example", 443), says(answer)
        )
    assert sentence in str(raised.value)
    assert "bWU6cGFzcw" not in str(raised.value)
    assert not raised.value.transient
