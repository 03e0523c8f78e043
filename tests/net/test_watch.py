"""Silence, counted from the last byte."""

import pytest
import trio
import trio.testing
from helpers.linked import linked
from helpers.wire import (
    TEXT,
    frame,
)
from trio.testing import MockClock

from galileod.net.watch import PeerSilent
from galileod.net.websocket import WebSocketTransport

pytestmark = pytest.mark.timeout(20)


@pytest.mark.parametrize("sent", [b"", b"\x81", frame(TEXT, b"whole")[:-1]])
async def test_silence_is_counted_from_the_last_byte(
    autojump_clock: MockClock, nursery: trio.Nursery, sent: bytes
) -> None:
    async with linked() as (link, peer, _):
        began = trio.current_time()

        async def trickle() -> None:
            for byte in sent:
                await trio.sleep(4)
                await peer.send(bytes([byte]))

        nursery.start_soon(trickle)
        with pytest.raises(PeerSilent):
            await link.receive(5)
        assert trio.current_time() == began + 4 * len(sent) + 5


async def test_what_came_in_time_can_still_be_received_after_silence(
    autojump_clock: MockClock,
) -> None:
    async with linked() as (link, peer, _):
        with pytest.raises(PeerSilent):
            await link.receive(5)
        await peer.send(frame(TEXT, b"late"))
        assert await link.receive(5) == "late"


async def test_what_was_there_at_the_deadline_is_read_before_the_peer_is_silent(
    mock_clock: MockClock,
) -> None:
    heard: list[object] = []
    for _ in range(20):  # which task runs first is a matter of chance
        async with linked() as (link, peer, _watched), trio.open_nursery() as nursery:

            async def receive(link: WebSocketTransport = link) -> None:
                heard.append(await link.receive(5))

            nursery.start_soon(receive)
            await trio.testing.wait_all_tasks_blocked()
            await peer.send(frame(TEXT, b"in time"))
            mock_clock.jump(5)
    assert heard == ["in time"] * 20


async def test_a_peer_of_which_nothing_was_there_is_silent_at_the_deadline(
    mock_clock: MockClock,
) -> None:
    async with linked() as (link, _, _), trio.open_nursery() as nursery:

        async def receive() -> None:
            with pytest.raises(PeerSilent):
                await link.receive(5)

        nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(5)
