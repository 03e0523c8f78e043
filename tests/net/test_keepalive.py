"""Pings while the peer has to wait, and only then."""

import pytest
import trio
import trio.testing
from helpers.linked import FIRST, LONG, allow, linked, long_frame, rest_of, whole
from helpers.splitting import PART
from helpers.wire import CLOSE, KEY, PING, PONG, TEXT, Frame, RawPeer, frame
from trio.testing import MockClock, lockstep_stream_pair

from galileod.net.keepalive import SEND_SECONDS
from galileod.net.watch import PeerSilent
from galileod.net.websocket import TransportClosed, open_transport

pytestmark = pytest.mark.timeout(20)


async def test_a_peer_that_waits_gets_a_ping_at_each_interval(autojump_clock: MockClock) -> None:
    async with linked(ping=20) as (link, peer, _):
        await peer.send(FIRST)
        await link.receive(5)
        began = trio.current_time()
        for count in range(1, 4):
            assert await peer.receive_frame() == Frame(PING, b"")
            assert trio.current_time() == began + 20 * count
            await peer.send(frame(PONG))


@pytest.mark.parametrize("waited", [1, 19, 20.5, 39])
async def test_the_interval_begins_with_the_wait(
    autojump_clock: MockClock, nursery: trio.Nursery, waited: float
) -> None:
    async with linked(ping=20) as (link, peer, watched):

        async def send_later() -> None:
            await trio.sleep(waited)
            await peer.send(FIRST)

        nursery.start_soon(send_later)
        await link.receive(100)
        began = trio.current_time()
        assert await peer.receive_frame() == Frame(PING, b"")
        assert trio.current_time() == began + 20
        assert not await rest_of(peer, watched)


async def test_a_peer_that_is_waited_for_gets_no_ping(autojump_clock: MockClock) -> None:
    async with linked(ping=20) as (link, peer, watched):
        with pytest.raises(PeerSilent):
            await link.receive(500)
        assert not await rest_of(peer, watched)


async def test_a_peer_whose_data_is_due_gets_no_ping(autojump_clock: MockClock) -> None:
    async with linked(ping=20) as (link, peer, _):
        allow(link, LONG)
        data = long_frame(LONG)
        await trio.sleep(50)
        await peer.send(data[: LONG // 2])
        await trio.sleep(55)
        sent = trio.current_time()
        await peer.send(data[LONG // 2 :])
        assert await peer.receive_frame() == Frame(PING, b"")
        assert sent < trio.current_time() <= sent + 20
        assert await whole(link) == data[-LONG:]


async def test_no_ping_follows_a_close_frame(autojump_clock: MockClock) -> None:
    async with linked(ping=20) as (_, peer, watched):
        await peer.send(frame(CLOSE, (1000).to_bytes(2)))
        await trio.sleep(100)
        (closing,) = await rest_of(peer, watched)
        assert closing.close_code == 1000


async def test_a_peer_that_does_not_read_is_waited_for_once_and_loses_nothing(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    ours, theirs = lockstep_stream_pair()
    peer = RawPeer(theirs)
    heads: list[bytes] = []

    async def read_head() -> None:
        heads.append(await peer.receive_head())

    nursery.start_soon(read_head)
    async with open_transport(ours, KEY, b"", timeout=5, ping=20, part_size=PART) as link:
        await trio.sleep(20 + SEND_SECONDS / 2)
        with pytest.raises(TransportClosed, match="does not read"):
            await link.send("{}", timeout=SEND_SECONDS / 4)
        await trio.sleep(100)
        nursery.start_soon(peer.receive_frames)
        began = trio.current_time()
        await link.send("{}", timeout=5)
        assert trio.current_time() == began, "the Ping did not cut a frame off"


async def test_a_lost_connection_ends_the_pings(autojump_clock: MockClock) -> None:
    async with linked(ping=20) as (link, peer, _):
        await peer.stream.aclose()
        await trio.sleep(100)
        with pytest.raises(TransportClosed, match="lost"):
            await link.receive(5)


async def test_a_ping_and_a_message_do_not_mix(autojump_clock: MockClock) -> None:
    async with linked(ping=1) as (link, peer, watched):
        for _ in range(50):
            await link.send("x" * 70_000, timeout=5)
            await trio.sleep(0.7)
        frames = await rest_of(peer, watched)
    assert {each.opcode for each in frames} == {TEXT, PING}
    assert {each.payload for each in frames} == {b"x" * 70_000, b""}
