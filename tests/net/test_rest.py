"""What has arrived of a connection that ended, and was not received."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import accumulate

import pytest
import trio
import trio.testing
from helpers.linked import LONG, allow, check_last_words, linked, long_frame
from helpers.splitting import (
    PART,
    PLACES,
    PLENTY,
    cut,
    extracted,
    messages_of,
    splitter_allowing,
)
from helpers.wire import (
    BINARY,
    CLOSE,
    CONTINUATION,
    KEY,
    PING,
    PONG,
    TEXT,
    Frame,
    RawPeer,
    frame,
    header,
)
from hypothesis import example, given
from hypothesis import strategies as st
from trio.testing import MockClock, open_stream_to_socket_listener

from galileod.net.frames import BinaryMessage, FrameTooLarge
from galileod.net.watch import PeerSilent
from galileod.net.websocket import (
    REST_SECONDS,
    FrameError,
    TransportClosed,
    WebSocketTransport,
    open_transport,
)

pytestmark = pytest.mark.timeout(20)

FINISHED = frame(TEXT, b'{"finished": true}')
FOREIGN = frame(BINARY, b"of another file", final=False)

MESSAGES = st.lists(st.lists(st.integers(0, 300), min_size=1, max_size=4), max_size=6)
"""The lengths of the frames of each message."""


def file_of(length: int) -> bytes:
    return bytes(place % 251 for place in range(length))


def frames_of(messages: list[list[int]], *, pings: bool = False) -> list[tuple[bytes, bytes]]:
    """The frames that send a file, each as its header and payload; a Ping is a header."""
    data = file_of(sum(map(sum, messages)))
    frames, place = list[tuple[bytes, bytes]](), 0
    for lengths in messages:
        for number, length in enumerate(lengths):
            opcode, final = CONTINUATION if number else BINARY, number == len(lengths) - 1
            head = header(opcode, length, final=final)
            frames.append((head, data[place : place + length]))
            place += length
            if pings:
                frames.append((frame(PING, b"?"), b""))
    return frames


def arrived(frames: list[tuple[bytes, bytes]], length: int) -> bytes:
    """The part of the file in the first `length` bytes of the frames."""
    ends = accumulate(len(head) + len(payload) for head, payload in frames)
    return b"".join(
        payload[: max(0, len(payload) - max(0, end - length))]
        for end, (_, payload) in zip(ends, frames, strict=True)
    )


def joined(frames: list[tuple[bytes, bytes]]) -> bytes:
    return b"".join(head + payload for head, payload in frames)


async def received(link: WebSocketTransport, count: int) -> list[bytes]:
    """The pieces of at most `count` items that are there."""
    pieces: list[bytes] = []
    for _ in range(count):
        try:
            message = await link.receive(5)
        except (TransportClosed, PeerSilent):
            break
        assert not isinstance(message, str)
        pieces += message.pieces
    return pieces


@given(MESSAGES, PLACES, st.integers(0, 4000))
def test_parts_messages_and_tail_are_all_that_came(
    messages: list[list[int]], places: list[int], length: int
) -> None:
    frames = frames_of(messages)
    splitter = splitter_allowing(sum(map(sum, messages)))
    for piece in cut(joined(frames)[:length], places):
        splitter.feed(piece, 0.0, PLENTY)
    assert extracted(splitter) + b"".join(splitter.take_tail()) == arrived(frames, length)
    assert not splitter.take_tail()


@pytest.mark.parametrize("length", [0, 1, PART - 1, PART, PART + 1, 3 * PART + 7])
def test_the_tail_is_what_is_in_no_part(length: int) -> None:
    splitter = splitter_allowing(LONG)
    data = long_frame(LONG)
    splitter.feed(header(BINARY, LONG), 0.0, PLENTY)
    for start in range(0, length, 100_000):
        piece = data[-LONG:][start : min(start + 100_000, length)]
        splitter.feed(piece, 0.0, PLENTY)
    assert extracted(splitter) + b"".join(splitter.take_tail()) == data[-LONG:][:length]


def test_nothing_behind_a_close_frame_is_in_the_tail() -> None:
    splitter = splitter_allowing(10)
    begun = frame(BINARY, b"abc", final=False)
    splitter.feed(begun + frame(CLOSE) + frame(CONTINUATION, b"def", final=False), 0.0, PLENTY)
    assert b"".join(splitter.take_tail()) == b"abc"


@given(
    messages=MESSAGES,
    places=PLACES,
    length=st.integers(0, 4000),
    count=st.integers(0, 8),
    pings=st.booleans(),
    lost=st.booleans(),
)
@example(messages=[[5], [4, 3]], places=[], length=4000, count=1, pings=True, lost=False)
async def test_whatever_was_received_before_a_cut_the_rest_is_what_came_behind_it(
    messages: list[list[int]],
    places: list[int],
    length: int,
    count: int,
    *,
    pings: bool,
    lost: bool,
) -> None:
    frames = frames_of(messages, pings=pings)
    async with linked() as (link, peer, _):
        allow(link, sum(map(sum, messages)))
        for piece in cut(joined(frames)[:length], places):
            await peer.send(piece)
            await trio.testing.wait_all_tasks_blocked()
        if lost:
            await peer.stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        complete = splitter_allowing(sum(map(sum, messages)))
        complete.feed(joined(frames)[:length], 0.0, PLENTY)
        pieces = await received(link, min(count, len(messages_of(complete))))
        pieces += await link.take_rest()
        assert b"".join(pieces) == arrived(frames, length)


@pytest.mark.parametrize("length", [0, 1, PART - 1, PART + 1, 3 * PART])
@pytest.mark.parametrize("received_before", [True, False])
async def test_a_long_message_that_was_cut_off_is_there_up_to_the_cut(
    autojump_clock: MockClock, length: int, *, received_before: bool
) -> None:
    data = long_frame(LONG)
    head = len(data) - LONG
    async with linked() as (link, peer, _):
        allow(link, LONG)
        await peer.send(data[: head + length])
        await peer.stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        pieces = []
        if received_before:
            pieces = await received(link, 100)
            with pytest.raises(TransportClosed, match="the connection was lost"):
                await link.receive(5)
        pieces += await link.take_rest()
        assert b"".join(pieces) == data[head:][:length]
        assert link.peer_ended


async def test_the_rest_is_there_once(autojump_clock: MockClock) -> None:
    async with linked() as (link, peer, _):
        allow(link, 10)
        await peer.send(frame(BINARY, b"abc", final=False))
        await trio.testing.wait_all_tasks_blocked()
        assert b"".join(await link.take_rest()) == b"abc"
        assert await link.take_rest() == []


async def test_the_rest_of_a_silent_peer_is_there_at_once_and_it_can_be_told(
    autojump_clock: MockClock,
) -> None:
    async with linked() as (link, peer, watched):
        allow(link, 10)
        await peer.send(frame(BINARY, b"abc", final=False))
        with pytest.raises(PeerSilent):
            await link.receive(5)
        began = trio.current_time()
        assert b"".join(await link.take_rest()) == b"abc"
        assert trio.current_time() == began
        assert not link.peer_ended
        await check_last_words(link, peer, watched)


async def test_nothing_more_is_received_or_read_after_the_rest(autojump_clock: MockClock) -> None:
    async with linked() as (link, peer, watched):
        allow(link, 10)
        await link.take_rest()
        before = watched.read
        await peer.send(frame(BINARY, b"abc"))
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(TransportClosed, match="nothing more is received"):
            await link.receive(5)
        assert watched.read == before


@pytest.mark.parametrize("end", ["lost", "silent"])
async def test_nothing_behind_a_signal_is_in_the_rest(autojump_clock: MockClock, end: str) -> None:
    async with linked() as (link, peer, _):
        allow(link, 100)
        await peer.send(frame(BINARY, b"abc") + FINISHED + frame(BINARY, b"def") + FOREIGN)
        await trio.testing.wait_all_tasks_blocked()
        if end == "lost":
            await peer.stream.aclose()
        assert b"".join(await link.take_rest()) == b"abc"
        assert await link.take_rest() == []


async def test_a_signal_that_was_received_does_not_end_the_rest(
    autojump_clock: MockClock,
) -> None:
    async with linked() as (link, peer, _):
        allow(link, 100)
        await peer.send(FINISHED + FOREIGN)
        assert isinstance(await link.receive(5), str)
        await trio.testing.wait_all_tasks_blocked()
        assert b"".join(await link.take_rest()) == b"of another file"


async def test_a_frame_that_was_not_granted_gives_nothing(autojump_clock: MockClock) -> None:
    async with linked() as (link, peer, _):
        allow(link, 5)
        await peer.send(frame(BINARY, b"abc", final=False) + frame(CONTINUATION, b"def"))
        with pytest.raises(FrameTooLarge):
            await link.receive(5)
        assert b"".join(await link.take_rest()) == b"abc"


@pytest.mark.parametrize("noticed", [True, False])
async def test_nothing_behind_a_violation_is_in_the_rest(
    autojump_clock: MockClock, *, noticed: bool
) -> None:
    async with linked() as (link, peer, _):
        allow(link, 100)
        await peer.send(frame(BINARY, b"abc") + frame(PING, bytes(200)) + FOREIGN)
        await trio.testing.wait_all_tasks_blocked()
        if noticed:
            assert isinstance(await link.receive(5), BinaryMessage)
            with pytest.raises(FrameError):
                await link.receive(5)
        assert b"".join(await link.take_rest()) == (b"" if noticed else b"abc")


async def test_the_rest_before_a_close_frame_is_there(autojump_clock: MockClock) -> None:
    async with linked() as (link, peer, _):
        allow(link, 10)
        await peer.send(frame(BINARY, b"abc", final=False) + frame(CLOSE, (1001).to_bytes(2)))
        with pytest.raises(TransportClosed) as closed:
            await link.receive(5)
        assert closed.value.code == 1001
        assert b"".join(await link.take_rest()) == b"abc"
        assert link.peer_ended


async def test_a_close_frame_that_is_met_on_the_way_counts(autojump_clock: MockClock) -> None:
    async with linked() as (link, peer, _):
        allow(link, 10)
        await peer.send(frame(BINARY, b"abc") + frame(CLOSE, (1001).to_bytes(2)))
        await trio.testing.wait_all_tasks_blocked()
        assert b"".join(await link.take_rest()) == b"abc"
        assert link.peer_ended


async def test_more_small_messages_than_are_held_are_all_there(autojump_clock: MockClock) -> None:
    count = 1000
    async with linked() as (link, peer, _):
        link.budget.promise(count, count)
        await peer.send(frame(BINARY, b"x") * count)
        await trio.testing.wait_all_tasks_blocked()
        assert b"".join(await link.take_rest()) == b"x" * count


async def test_data_behind_a_ping_whose_pong_cannot_be_sent_is_there(
    autojump_clock: MockClock,
) -> None:
    async with linked() as (link, peer, watched):
        allow(link, 10)
        await watched.send_eof()
        broken = trio.BrokenResourceError

        async def refuse(data: bytes | bytearray | memoryview) -> None:
            await trio.lowlevel.checkpoint()
            raise broken

        watched.send_all = refuse  # type: ignore[method-assign]
        await peer.send(frame(PING) + frame(BINARY, b"abc") + frame(BINARY, b"def", final=False))
        await trio.testing.wait_all_tasks_blocked()
        await peer.stream.aclose()
        assert b"".join(await link.take_rest()) == b"abcdef"


async def test_a_peer_that_does_not_read_pongs_delays_the_rest_for_a_bounded_time(
    autojump_clock: MockClock,
) -> None:
    async with linked() as (link, peer, watched):
        allow(link, 10)
        watched.stuck = True
        await peer.send(frame(BINARY, b"abc") + frame(PING) + frame(BINARY, b"def"))
        await trio.testing.wait_all_tasks_blocked()
        began = trio.current_time()
        assert b"".join(await link.take_rest()) == b"abc"
        assert trio.current_time() == began + REST_SECONDS


async def test_the_rest_is_there_at_once_while_everything_is_cancelled(
    autojump_clock: MockClock,
) -> None:
    with trio.CancelScope() as scope:
        async with linked() as (link, peer, _):
            allow(link, 10)
            await peer.send(frame(BINARY, b"abc"))
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
            began = trio.current_time()
            with trio.CancelScope(shield=True):
                assert b"".join(await link.take_rest()) == b"abc"
            assert trio.current_time() == began
    assert scope.cancelled_caught


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[WebSocketTransport, RawPeer]]:
    """A transport over a TCP connection, and its peer."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        far = await open_stream_to_socket_listener(listener)
        near = await listener.accept()
        async with far, near:
            with trio.fail_after(10):
                async with open_transport(
                    near, KEY, b"", timeout=5, ping=100, part_size=PART
                ) as link:
                    peer = RawPeer(far)
                    await peer.receive_head()
                    yield link, peer


@pytest.mark.parametrize("length", [1, 100_000, PART + 1, 3 * PART + 12_345])
async def test_over_a_socket_all_that_came_before_the_loss_is_there(length: int) -> None:
    data = long_frame(LONG)
    head = len(data) - LONG
    async with connected() as (link, peer):
        allow(link, LONG)
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def send() -> None:
                await peer.send(data[: head + length])
                await peer.stream.aclose()

            pieces = await received(link, 1000)
        assert b"".join(pieces + await link.take_rest()) == data[head:][:length]


async def test_over_a_socket_the_rest_is_there_before_the_peer_is_told() -> None:
    async with connected() as (link, peer):
        allow(link, 10)
        await peer.send(frame(BINARY, b"abc", final=False) + frame(PING, b"read"))
        assert await peer.receive_frame() == Frame(PONG, b"read")
        assert b"".join(await link.take_rest()) == b"abc"
        await link.send('{"error": "x"}', timeout=5)
        assert await peer.receive() == {"error": "x"}
