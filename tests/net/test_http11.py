"""Reading a request head, and writing a response."""

import itertools

import outcome
import pytest
import trio
import trio.testing
from hypothesis import example, given
from hypothesis import strategies as st
from trio.testing import MockClock, lockstep_stream_pair, memory_stream_one_way_pair

from galileod.net import http11
from galileod.net.http11 import (
    BadRequest,
    Request,
    RequestAbandoned,
    RequestTimeout,
    Response,
)

pytestmark = pytest.mark.timeout(30)

HEAD = (
    b"GET /upload?x=1 HTTP/1.1\r\nHost: files.example\r\nX-A: 1\r\nx-a: 2\r\nX-B: \xe4\r\n"
    b"Connection: Upgrade\r\n\r\n"
)
PARSED = {
    "host": "files.example", "x-a": "1, 2", "x-b": "\xe4", "connection": "Upgrade",
}  # fmt: skip


async def read(pieces: list[bytes], timeout: float = 10) -> Request:
    """Read a request head that comes in these pieces, after which nothing more comes."""
    ours, theirs = memory_stream_one_way_pair()

    async def send() -> None:
        for piece in filter(None, pieces):
            await ours.send_all(piece)
            await trio.testing.wait_all_tasks_blocked()

    result: outcome.Outcome[Request] | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        result = await outcome.acapture(http11.read_request, theirs, timeout)
        nursery.cancel_scope.cancel()
    theirs.close()
    return result.unwrap()


@given(cuts=st.lists(st.integers(0, len(HEAD) + 5), max_size=6), surplus=st.binary(max_size=5))
@example(cuts=list(range(len(HEAD) + 5)), surplus=b"\x81\x80abc")
@example(cuts=[len(HEAD)], surplus=b"\x81\x80abc")
@example(cuts=[], surplus=b"\r\n\r\n")
def test_a_head_in_any_pieces_is_read_the_same(cuts: list[int], surplus: bytes) -> None:
    data = HEAD + surplus
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[start:end] for start, end in itertools.pairwise(edges)]

    got = trio.run(read, pieces)
    assert (got.method, got.target, got.path) == ("GET", "/upload?x=1", "/upload")
    assert got.headers == PARSED
    # What came in a read of its own behind the head is still in the stream.
    assert surplus.startswith(got.surplus)
    assert len(edges) > 2 or got.surplus == surplus


@given(data=st.binary(max_size=200), cuts=st.lists(st.integers(0, 200), max_size=3))
@example(data=b"\r\n" * 50, cuts=[])
@example(data=b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", cuts=[])
@example(data=b"GET / HTTP/1.1\r\n\r\n", cuts=[3])
@example(data=b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", cuts=[3])
def test_no_bytes_do_worse_than_a_refusal(data: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[start:end] for start, end in itertools.pairwise(edges)]

    async def main() -> Request:
        ours, theirs = memory_stream_one_way_pair()
        for piece in pieces:
            await ours.send_all(piece)
        ours.close()
        return await http11.read_request(theirs, 10)

    result = outcome.capture(trio.run, main)
    match result:
        case outcome.Value(got):
            assert got.method
        case outcome.Error(BadRequest(response=response)):
            assert 400 <= response.status < 600
            assert response.text.isprintable()
        case outcome.Error(error):
            assert isinstance(error, RequestAbandoned)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 20_000, 431),
        (b"GET /" + b"x" * 20_000, 431),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 4000, 431),
        (b"\x16\x03\x01\x02\x00\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nBad Name: y\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: odd\r\n\r\n", 501),
    ],
)
async def test_what_cannot_be_read_gets_its_status(
    autojump_clock: MockClock, data: bytes, status: int
) -> None:
    with pytest.raises(BadRequest) as bad:
        await read([data])
    assert bad.value.response.status == status


async def test_a_head_that_fits_is_read_whole(autojump_clock: MockClock) -> None:
    data = b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 15_000 + b"\r\n\r\n"
    got = await read([data[:9000], data[9000:]])
    assert got.headers["x"] == "x" * 15_000


@pytest.mark.parametrize("pieces", [[], [b"G"], [HEAD[:-1]], [bytes([byte]) for byte in HEAD]])
async def test_a_head_has_one_time_limit_however_it_trickles(
    autojump_clock: MockClock, pieces: list[bytes]
) -> None:
    ours, theirs = memory_stream_one_way_pair()
    began = trio.current_time()
    async with trio.open_nursery() as nursery:

        async def trickle() -> None:
            for piece in pieces:
                await ours.send_all(piece)
                await trio.sleep(1)

        nursery.start_soon(trickle)
        with pytest.raises(RequestTimeout) as slow:
            await http11.read_request(theirs, 10)
        assert trio.current_time() == began + 10
        nursery.cancel_scope.cancel()
    # Who sent nothing gets no answer.
    assert (slow.value.response and slow.value.response.status) == (408 if pieces else None)


@pytest.mark.parametrize("sent", [b"", b"GET / HT"])
async def test_a_peer_that_leaves_within_its_head_is_told_apart(
    autojump_clock: MockClock, sent: bytes
) -> None:
    ours, theirs = memory_stream_one_way_pair()
    await ours.send_all(sent)
    ours.close()
    with pytest.raises(RequestAbandoned):
        await http11.read_request(theirs, 10)


@pytest.mark.parametrize("head", [True, False])
async def test_a_response_is_whole_and_ends_the_connection(
    autojump_clock: MockClock, *, head: bool
) -> None:
    ours, theirs = memory_stream_one_way_pair()
    await http11.send_response(ours, Response(503, "B\xfcsy.", {"Retry-After": "5"}), 5, head=head)
    ours.close()
    data = bytes(await theirs.receive_some())
    lines, _, body = data.partition(b"\r\n\r\n")
    status, *headers = lines.decode().lower().split("\r\n")
    assert status == "http/1.1 503 service unavailable"
    assert set(headers) == {
        "content-type: text/plain; charset=utf-8",
        "content-length: 7",
        "cache-control: no-store",
        "x-content-type-options: nosniff",
        "connection: close",
        "retry-after: 5",
    }
    assert body == (b"" if head else "B\xfcsy.\n".encode())


async def test_a_text_with_a_path_that_is_not_utf_8_is_sent_with_escapes() -> None:
    ours, theirs = memory_stream_one_way_pair()
    await http11.send_response(ours, Response(200, "a\udcff"), 5)
    ours.close()
    head, _, body = bytes(await theirs.receive_some()).partition(b"\r\n\r\n")
    assert b"Content-Length: 8\r\n" in head
    assert body == b"a\\udcff\n"


async def test_a_peer_that_does_not_take_its_answer_is_waited_for_so_long(
    autojump_clock: MockClock,
) -> None:
    ours, _theirs = lockstep_stream_pair()
    began = trio.current_time()
    await http11.send_response(ours, Response(404, "x"), 5)
    assert trio.current_time() == began + 5


async def test_a_peer_that_is_gone_gets_no_answer_and_raises_nothing(
    autojump_clock: MockClock,
) -> None:
    ours, theirs = memory_stream_one_way_pair()
    theirs.close()
    await http11.send_response(ours, Response(404, "x"), 5)
    ours.close()
    await http11.send_response(ours, Response(404, "x"), 5)
