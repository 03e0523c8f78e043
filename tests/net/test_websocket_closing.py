"""The end of a WebSocket connection, from either side."""

from collections.abc import Awaitable, Callable
from functools import partial

import pytest
import trio
import trio.testing
from helpers.linked import PATIENCE, linked, rest_of
from helpers.splitting import PART
from helpers.wire import (
    CLOSE,
    KEY,
    PING,
    PONG,
    TEXT,
    Frame,
    frame,
)
from trio.testing import MockClock, memory_stream_pair

from galileod.net.websocket import TransportClosed, WebSocketTransport, open_transport

pytestmark = pytest.mark.timeout(20)


@pytest.mark.parametrize(
    ("payload", "code"),
    [((1000).to_bytes(2), 1000), ((4711).to_bytes(2) + b"so long", 4711), (b"", 1005)],
)
async def test_a_close_of_the_peer_is_answered_once(
    autojump_clock: MockClock, payload: bytes, code: int
) -> None:
    async with linked() as (link, peer, watched):
        await peer.send(frame(TEXT, b"last") + frame(CLOSE, payload))
        assert await link.receive(5) == "last"
        with pytest.raises(TransportClosed) as closed:
            await link.receive(5)
        assert closed.value.code == code
        with pytest.raises(TransportClosed, match="closing"):
            await link.send("too late", timeout=5)
        began = trio.current_time()
        assert await link.finish(1000, "stored", 5) == f"closed by the peer (code {code})"
        assert trio.current_time() == began
        (answer,) = await rest_of(peer, watched)
        assert answer.opcode == CLOSE
        assert answer.payload[:2] == payload[:2]


@pytest.mark.parametrize("answers", [True, False])
async def test_nothing_follows_our_close_frame(
    autojump_clock: MockClock, nursery: trio.Nursery, *, answers: bool
) -> None:
    async with linked() as (link, peer, watched):
        began = trio.current_time()

        async def peer_goes_on() -> None:
            assert await peer.receive_frame() == Frame(CLOSE, (1008).to_bytes(2) + b"conflict")
            await peer.send(frame(PING, b"?") + frame(TEXT, b"more"))
            if answers:
                await peer.send(frame(CLOSE, (1008).to_bytes(2)))

        nursery.start_soon(peer_goes_on)
        assert await link.finish(1008, "conflict", 5) == "closed by the server: conflict"
        assert trio.current_time() == began + 5 + (0 if answers else 1)
        with pytest.raises(TransportClosed, match="closing"):
            await link.send("too late", timeout=5)
        assert await rest_of(peer, watched) == []


@pytest.mark.parametrize("at", [0, 3])
async def test_a_peer_that_closes_by_itself_is_not_closed_by_us(
    autojump_clock: MockClock, nursery: trio.Nursery, at: float
) -> None:
    async with linked() as (link, peer, watched):
        began = trio.current_time()

        async def close() -> None:
            await trio.sleep(at)
            await peer.send(frame(TEXT, b"dropped") * 3 + frame(CLOSE, (1000).to_bytes(2)))

        nursery.start_soon(close)
        assert await link.finish(1000, "stored", 5) == "closed by the peer (code 1000)"
        assert trio.current_time() == began + at
        assert await rest_of(peer, watched) == [Frame(CLOSE, (1000).to_bytes(2))]


async def test_a_peer_that_never_stops_cannot_put_the_end_off(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    async with linked() as (link, peer, _):
        began = trio.current_time()

        async def babble() -> None:
            while True:
                await peer.send(frame(PING, b"?") + frame(TEXT, b"more"))
                await trio.sleep(0.25)

        nursery.start_soon(babble)
        assert await link.finish(1000, "stored", 5) == "closed by the server: stored"
        assert trio.current_time() == began + 6
        nursery.cancel_scope.cancel()


async def test_a_connection_that_is_lost_is_closed_without_a_word(
    autojump_clock: MockClock,
) -> None:
    async with linked() as (link, peer, _):
        await peer.send(frame(TEXT, b"last"))
        await peer.stream.aclose()
        assert await link.receive(5) == "last"
        with pytest.raises(TransportClosed, match="lost") as closed:
            await link.receive(5)
        assert closed.value.code == 1006
        with pytest.raises(TransportClosed, match="lost"):
            await link.send("too late", timeout=5)
        assert await link.finish(1000, "gone", 5) == "the connection was lost"


async def test_the_stream_stays_open_for_the_one_who_gave_it(autojump_clock: MockClock) -> None:
    ours, theirs = memory_stream_pair()
    async with open_transport(
        ours, KEY, b"", timeout=PATIENCE, ping=PATIENCE, part_size=PART
    ) as link:
        await link.finish(1000, "stored", 0)
    await ours.send_all(b"still open")
    assert (await theirs.receive_some()).endswith(b"still open")


async def test_a_peer_that_is_gone_before_the_answer_is_no_error_of_ours(
    autojump_clock: MockClock,
) -> None:
    ours, theirs = memory_stream_pair()
    await theirs.aclose()
    with pytest.raises(TransportClosed, match="lost"):
        async with open_transport(ours, KEY, b"", timeout=PATIENCE, ping=PATIENCE, part_size=PART):
            raise AssertionError("there is nobody to talk to")


async def sent_too_slowly(link: WebSocketTransport) -> None:
    with pytest.raises(TransportClosed, match="does not read"):
        await link.send("x" * 100, timeout=3)


async def sent_and_cancelled(link: WebSocketTransport) -> None:
    with trio.move_on_after(3) as scope:
        await link.send("x" * 100, timeout=100)
    assert scope.cancelled_caught


@pytest.mark.parametrize("cut_off", [sent_too_slowly, sent_and_cancelled])
async def test_a_frame_that_was_cut_off_is_the_last_thing_sent(
    autojump_clock: MockClock, cut_off: Callable[[WebSocketTransport], Awaitable[None]]
) -> None:
    async with linked() as (link, peer, watched):
        await link.send("whole", timeout=5)
        began = trio.current_time()
        watched.stuck = True
        await cut_off(link)
        assert trio.current_time() == began + 3
        watched.stuck = False
        with pytest.raises(TransportClosed, match="lost"):
            await link.send("corrupt", timeout=5)
        await peer.send(frame(PING, b"?"))
        await link.finish(1000, "stored", 1)
        await watched.send_eof()
        assert await peer.receive_frame() == Frame(TEXT, b"whole")
        assert await peer.receive_all() == b"\x81\x64" + b"x" * 49


async def test_a_frame_that_waits_for_another_is_whole_or_not_there(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    async with linked() as (link, peer, watched):
        for number in range(5):
            nursery.start_soon(partial(link.send, f"{number}", timeout=5))
            await peer.send(frame(PING, b"%d" % number))
        await trio.testing.wait_all_tasks_blocked()
        frames = await rest_of(peer, watched)
    for opcode in (TEXT, PONG):
        payloads = sorted(each.payload for each in frames if each.opcode == opcode)
        assert payloads == [b"0", b"1", b"2", b"3", b"4"]
