"""Ending a byte stream in order."""

import pytest
import trio
import trio.testing
from trio.testing import MockClock, memory_stream_pair

from galileod.net.streams import QUIET, close_in_order, drop_until_quiet

pytestmark = pytest.mark.timeout(10)


async def test_the_last_words_arrive_and_what_the_peer_still_sends_is_dropped(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    del autojump_clock
    ours, theirs = memory_stream_pair()
    await ours.send_all(b"last words")
    nursery.start_soon(close_in_order, ours, 5)
    for _ in range(3):
        await theirs.send_all(b"x" * 1_000_000)
        await trio.sleep(1)
    assert await theirs.receive_some() == b"last words"
    assert await theirs.receive_some() == b""
    began = trio.current_time()
    await theirs.aclose()
    await trio.testing.wait_all_tasks_blocked()
    assert trio.current_time() == began
    with pytest.raises(trio.ClosedResourceError):
        await ours.send_all(b"more")


@pytest.mark.parametrize("seconds", [0, 5])
async def test_a_peer_that_does_not_close_is_left_after_the_time(
    autojump_clock: MockClock, seconds: float
) -> None:
    del autojump_clock
    ours, theirs = memory_stream_pair()
    began = trio.current_time()
    await close_in_order(ours, seconds)
    assert trio.current_time() == began + seconds
    with pytest.raises(trio.BrokenResourceError):
        await theirs.send_all(b"x")


async def test_a_peer_that_never_stops_sending_is_left_after_the_time(
    autojump_clock: MockClock,
) -> None:
    del autojump_clock
    ours, theirs = memory_stream_pair()

    async def babble() -> None:
        while True:
            await theirs.send_all(b"x" * 1000)
            await trio.sleep(0.1)

    began = trio.current_time()
    with pytest.RaisesGroup(trio.BrokenResourceError):
        async with trio.open_nursery() as babbling:
            babbling.start_soon(babble)
            await close_in_order(ours, 5)
            assert trio.current_time() == began + 5


@pytest.mark.parametrize(
    ("pauses", "waited"),
    [
        (0, QUIET),
        (4, 4 * 0.9 * QUIET + QUIET),
        (1000, 5),
    ],
)
async def test_what_a_peer_is_sending_is_dropped_until_it_pauses(
    autojump_clock: MockClock, pauses: int, waited: float
) -> None:
    del autojump_clock
    ours, theirs = memory_stream_pair()

    async def send() -> None:
        for _ in range(pauses):
            await trio.sleep(0.9 * QUIET)
            await theirs.send_all(b"x" * 1000)

    async with trio.open_nursery() as sending:
        sending.start_soon(send)
        began = trio.current_time()
        await drop_until_quiet(ours, 5)
        assert trio.current_time() == pytest.approx(began + waited)
        sending.cancel_scope.cancel()


async def test_a_peer_that_ends_is_not_waited_for(autojump_clock: MockClock) -> None:
    del autojump_clock
    ours, theirs = memory_stream_pair()
    await theirs.aclose()
    began = trio.current_time()
    await drop_until_quiet(ours, 5)
    assert trio.current_time() == began


@pytest.mark.parametrize("gone_at", ["before", "while it drains"])
async def test_a_peer_that_is_gone_is_no_error(
    autojump_clock: MockClock, nursery: trio.Nursery, gone_at: str
) -> None:
    del autojump_clock
    ours, theirs = memory_stream_pair()
    if gone_at == "before":
        await theirs.aclose()
        await ours.send_stream.aclose()
    else:
        nursery.start_soon(_break_later, ours)
    began = trio.current_time()
    await close_in_order(ours, 5)
    assert trio.current_time() <= began + 1


async def _break_later(
    stream: trio.StapledStream[trio.testing.MemorySendStream, trio.testing.MemoryReceiveStream],
) -> None:
    await trio.sleep(1)
    stream.receive_stream.close()


async def test_a_stream_is_closed_even_if_the_wait_is_cancelled(autojump_clock: MockClock) -> None:
    del autojump_clock
    ours, theirs = memory_stream_pair()
    with trio.move_on_after(1) as scope:
        await close_in_order(ours, 100)
    assert scope.cancelled_caught
    with pytest.raises(trio.BrokenResourceError):
        await theirs.send_all(b"x")
