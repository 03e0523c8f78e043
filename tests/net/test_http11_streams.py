"""Responses whose body is a stream, over real sockets."""

from collections.abc import AsyncGenerator, Sequence

import h11
import pytest
import trio
from attrs import define, field
from trio.testing import MockClock, lockstep_stream_pair

from galileod.net.http11 import ByteStream, Response, send_response

pytestmark = pytest.mark.timeout(30)

MIB = 1 << 20


@define
class Body:
    """Produces these chunks, and notes how far it came and whether it was closed."""

    chunks: Sequence[bytes]
    error: Exception | None = None
    produced: int = 0
    closed: bool = False

    async def stream(self) -> AsyncGenerator[bytes, None]:
        try:
            for chunk in self.chunks:
                yield chunk
                self.produced += 1
            if self.error:
                raise self.error
        finally:
            self.closed = True


@define
class Received:
    """What a client made of a response."""

    headers: dict[bytes, bytes] = field(factory=dict)
    body: bytearray = field(factory=bytearray)
    complete: bool = False


async def sockets() -> tuple[trio.SocketStream, trio.SocketStream]:
    """Both ends of a TCP connection."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        theirs = await trio.open_tcp_stream(*listener.socket.getsockname())
        return await listener.accept(), theirs


async def receive(stream: trio.SocketStream, method: str, version: str) -> Received:
    """Read a response as h11's client does."""
    client, received = h11.Connection(h11.CLIENT), Received()
    client.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
    client.send(h11.EndOfMessage())
    while True:
        match client.next_event():
            case h11.Response(headers=headers):
                received.headers = dict(headers)
            case h11.Data(data=data):
                received.body += data
            case h11.EndOfMessage():
                # Without a length and chunks only the end of the connection says so.
                received.complete = version != "1.0" or not await stream.receive_some(1)
                return received
            case h11.NEED_DATA:
                try:
                    client.receive_data(await stream.receive_some(65536))
                except h11.RemoteProtocolError:
                    return received
            case other:
                raise AssertionError(other)


async def exchange(
    response: Response, method: str = "GET", version: str = "1.1"
) -> tuple[Received, BaseException | None]:
    """Send `response` to a client; what it received, and what sending raised."""
    ours, theirs = await sockets()
    raised: BaseException | None = None

    async def serve() -> None:
        nonlocal raised
        async with ours:
            try:
                await send_response(ours, response, 5, head=method == "HEAD", version=version)
            except Exception as error:  # noqa: BLE001  the test looks at it
                raised = error

    received = Received()
    with trio.fail_after(20):
        async with theirs, trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            try:
                received = await receive(theirs, method, version)
            except h11.RemoteProtocolError:
                pass  # an incomplete body
    return received, raised


@pytest.mark.parametrize("length", [None, 3 * MIB + 5])
@pytest.mark.parametrize("version", ["1.1", "1.0"])
async def test_a_stream_arrives_whole(length: int | None, version: str) -> None:
    body = Body([b"a" * MIB, b"b" * 2 * MIB, b"", b"12345"])
    received, raised = await exchange(
        Response(200, ByteStream(body.stream(), length), {"ETag": '"x"'}), version=version
    )
    assert raised is None
    assert received.complete
    assert received.body == b"".join(body.chunks)
    assert body.closed
    framing = {b"content-length", b"transfer-encoding"} & received.headers.keys()
    chunked = set() if version == "1.0" else {b"transfer-encoding"}
    assert framing == (chunked if length is None else {b"content-length"})
    assert received.headers[b"connection"] == b"close"
    assert received.headers[b"content-type"] == b"application/octet-stream"
    assert received.headers[b"etag"] == b'"x"'


@pytest.mark.parametrize("length", [None, 5])
async def test_head_produces_nothing_and_states_the_same(length: int | None) -> None:
    bodies = Body([b"12345"]), Body([b"12345"])
    (got, _), (head, _) = [
        await exchange(Response(200, ByteStream(body.stream(), length)), method)
        for body, method in zip(bodies, ("GET", "HEAD"), strict=True)
    ]
    assert head.headers == got.headers
    assert (bytes(got.body), bytes(head.body)) == (b"12345", b"")
    assert bodies[1].produced == 0


@pytest.mark.parametrize("length", [None, 10])
async def test_a_stream_that_fails_is_seen_to_be_incomplete(length: int | None) -> None:
    body = Body([b"12345"], ZeroDivisionError("a bug"))
    received, raised = await exchange(Response(200, ByteStream(body.stream(), length)))
    assert isinstance(raised, ZeroDivisionError)
    assert bytes(received.body) in (b"", b"12345")
    assert not received.complete
    assert body.closed


@pytest.mark.parametrize("chunks", [[b"1234"], [b"123456"], [b"12345", b"6"]])
async def test_a_stream_of_another_length_than_stated_is_a_mistake(chunks: list[bytes]) -> None:
    body = Body(chunks)
    _, raised = await exchange(Response(200, ByteStream(body.stream(), 5)))
    assert isinstance(raised, h11.LocalProtocolError)
    assert body.closed


async def test_a_client_that_goes_away_ends_the_stream() -> None:
    ours, theirs = await sockets()
    body = Body([bytes(MIB)] * 1000)
    await theirs.aclose()
    with trio.fail_after(20):
        await send_response(ours, Response(200, ByteStream(body.stream())), 5, version="1.1")
    await ours.aclose()
    assert body.closed
    assert body.produced < 1000


async def test_a_client_that_does_not_read_ends_the_stream_after_a_while(
    autojump_clock: MockClock,
) -> None:
    ours, _theirs = lockstep_stream_pair()
    body, began = Body([b"x"] * 3), trio.current_time()
    await send_response(ours, Response(200, ByteStream(body.stream())), 5)
    assert trio.current_time() == began + 5
    assert body.produced == 0
