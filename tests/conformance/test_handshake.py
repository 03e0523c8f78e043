from collections.abc import Awaitable, Callable

import pytest
import trio
from helpers.conformance import DEADLINE, PATIENCE, listening, new_trial, socket_pair, target

from galileod.conformance.address import Address, open_websocket
from galileod.conformance.handshake import (
    MAX_BODY,
    HandshakeError,
    Refused,
    Request,
    accept_upgrade,
    mistakes,
    receive_upgrade,
)
from galileod.conformance.judge import KitError
from galileod.conformance.server import Server

Handler = Callable[[trio.SocketStream], Awaitable[None]]


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("ws://h", Address("ws://h", False, "h", 80, "/")),
        ("wss://h/a?b=c", Address("wss://h/a?b=c", True, "h", 443, "/a?b=c")),
        ("ws://[::1]:8750/up", Address("ws://[::1]:8750/up", False, "::1", 8750, "/up")),
        ("ws://[fe80::1%25a-0]", Address("ws://[fe80::1%25a-0]", False, "fe80::1%a-0", 80, "/")),
        ("ws://[fe80::1%a0]", Address("ws://[fe80::1%a0]", False, "fe80::1%a0", 80, "/")),
    ],
)
def test_a_url_is_read(url: str, address: Address) -> None:
    assert Address.parse(url) == address


@pytest.mark.parametrize(
    "url", ["", "h", "http://h", "ws://", "ws://h:x", "ws://h:99999", "ws://a:b@h", "ws://h/ä"]
)
def test_anything_else_is_no_url_of_a_server(url: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        Address.parse(url)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("ws://h", "h"),
        ("ws://h:443", "h:443"),
        ("wss://h:443", "h"),
        ("ws://[::1]:81", "[::1]:81"),
        ("ws://[fe80::1%25eth0]:81", "[fe80::1]:81"),
    ],
)
def test_the_host_header_has_the_port_where_it_is_another(url: str, host: str) -> None:
    assert Address.parse(url).authority == host


def test_a_query_is_left_out_of_reports() -> None:
    assert Address.parse("ws://h/up?ticket=abc").public == "ws://h/up"


async def connect(
    handler: Handler, headers: tuple[tuple[str, str], ...] = (), within: float = DEADLINE
) -> bytes | KitError | HandshakeError | Refused:
    with trio.fail_after(DEADLINE):
        async with listening(handler) as port:
            try:
                stream, rest = await open_websocket(target(port).address, headers, within)
            except (KitError, HandshakeError, Refused) as error:
                return error
            await trio.aclose_forcefully(stream)
            return rest


async def test_a_handshake_is_asked_for_and_answered() -> None:
    async def server(stream: trio.SocketStream) -> None:
        request = await receive_upgrade(stream)
        assert request.target == "/upload"
        assert ("origin", "http://x") in request.headers
        await accept_upgrade(stream, request)

    assert await connect(server, (("Origin", "http://x"),)) == b""


async def test_a_refusal_has_its_status_headers_and_body() -> None:
    async def server(stream: trio.SocketStream) -> None:
        await receive_upgrade(stream)
        body = b"who?" + bytes(2 * MAX_BODY)
        await stream.send_all(
            b"HTTP/1.1 401 Unauthorized\r\nRetry-After: 3\r\nContent-Length: %d\r\n\r\n" % len(body)
            + body
        )

    refused = await connect(server)
    assert isinstance(refused, Refused)
    assert refused.status == 401
    assert ("retry-after", "3") in refused.headers
    assert refused.body.startswith("who?")
    assert len(refused.body) == MAX_BODY


def answering(answer: bytes) -> Handler:
    async def server(stream: trio.SocketStream) -> None:
        await receive_upgrade(stream)
        await stream.send_all(answer)

    return server


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (b"", "closed the connection before it answered"),
        (b"\x00\x01garbage\r\n\r\n", "is not HTTP"),
        (b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\n\r\n", "Sec-WebSocket-Accept does not match"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", "answered the handshake with 100"),
        (b"HTTP/1.1 101 X\r\nA: " + b"x" * 200_000, "is not HTTP"),
    ],
    ids=["nothing", "garbage", "no key", "100", "long"],
)
async def test_another_answer_is_an_error_that_says_what_came(answer: bytes, sentence: str) -> None:
    error = await connect(answering(answer))
    assert isinstance(error, HandshakeError)
    assert sentence in str(error)


async def test_a_server_that_does_not_answer_the_handshake_is_not_waited_for_for_long() -> None:
    async def silent(stream: trio.SocketStream) -> None:
        await trio.sleep_forever()

    error = await connect(silent, within=PATIENCE)
    assert isinstance(error, KitError)
    assert "does not answer the handshake" in str(error)


async def test_a_server_that_cannot_be_reached_is_an_error() -> None:
    async with listening(answering(b"")) as port:
        pass
    with pytest.raises(KitError, match=rf"cannot connect to ws://127\.0\.0\.1:{port}/upload"):
        await open_websocket(target(port).address, (), DEADLINE)


async def received(sent: bytes) -> Request:
    with trio.fail_after(DEADLINE):
        async with socket_pair() as (near, far):
            await near.send_all(sent)
            await near.send_eof()
            return await receive_upgrade(far)


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01\r\n\r\n", b"GET / HTTP/1.1\r\nHost"])
async def test_a_request_that_is_not_http_is_refused(sent: bytes) -> None:
    with trio.fail_after(DEADLINE):
        async with socket_pair() as (near, far):
            await near.send_all(sent)
            await near.send_eof()
            with pytest.raises(HandshakeError):
                await receive_upgrade(far)


GOOD = (
    b"GET /upload HTTP/1.1\r\nHost: h\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


async def test_a_right_handshake_has_no_mistakes() -> None:
    assert list(mistakes(await received(GOOD))) == []


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (b"GET", b"HEAD", "the method GET, but HEAD came"),
        (b"HTTP/1.1", b"HTTP/1.0", "expected HTTP/1.1, but HTTP/1.0 came"),
        (b"WebSocket\r", b"h2c\r", "'upgrade' to contain 'websocket', but 'h2c' came"),
        (b", Upgrade", b"", "'connection' to contain 'upgrade', but 'keep-alive' came"),
        (b" 13", b" 8", "Sec-WebSocket-Version 13, but '8' came"),
        (b"AAAA==", b"AA==", "as Sec-WebSocket-Key, but 'AAAA"),
        (b"AAAA==", b"!!!!", "as Sec-WebSocket-Key"),
    ],
)
async def test_each_mistake_of_a_handshake_is_named(old: bytes, new: bytes, sentence: str) -> None:
    [found] = mistakes(await received(GOOD.replace(old, new, 1)))
    assert sentence in found


async def test_the_token_is_sent_in_the_metadata() -> None:
    trial = new_trial()
    received = b""

    async def server(stream: trio.SocketStream) -> None:
        nonlocal received
        request = await receive_upgrade(stream)
        await accept_upgrade(stream, request)
        websocket = trial.websocket(stream, request.rest, "client")
        received = getattr(await websocket.receive(), "data", b"")
        await websocket.finish(send_close=True, within=DEADLINE)

    with trio.fail_after(DEADLINE):
        async with listening(server) as port:
            with_tokens = target(port, tokens=("secret", "other"))
            async with Server(with_tokens, trial).connect() as connection:
                await connection.send_metadata("a", 1, modified=5)
    assert received == b'{"name":"a","size":1,"token":"secret","modified":5}'


async def test_the_reason_why_tls_fails_is_told() -> None:
    async def plain(stream: trio.SocketStream) -> None:
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with trio.fail_after(DEADLINE):
        async with listening(plain) as port:
            address = Address.parse(f"wss://127.0.0.1:{port}/")
            with pytest.raises(KitError, match=r"cannot connect to wss://.*: TLS: .*\w{4}"):
                await open_websocket(address, (), DEADLINE)
