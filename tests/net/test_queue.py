"""What was granted is read while nothing is taken, and no more than that."""

from collections.abc import Callable

import pytest
import trio
import trio.testing
from helpers.linked import FIRST, LONG, SECOND, allow, linked, long_frame, whole
from helpers.wire import BINARY, CLOSE, PING, PONG, TEXT, Frame, RawPeer, frame
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from galileod.net import guarded
from galileod.net.frames import BinaryMessage, MessagePart
from galileod.net.queue import BINARIES, MIN_BINARY, Message, MessageQueue

pytestmark = pytest.mark.timeout(20)

SMALL = 100


async def send_in_background(nursery: trio.Nursery, peer: RawPeer, data: bytes) -> None:
    nursery.start_soon(peer.send, data)
    await trio.testing.wait_all_tasks_blocked()


@pytest.mark.parametrize(("count", "length"), [(1, SMALL), (BINARIES, SMALL), (1, LONG), (2, LONG)])
async def test_a_ping_behind_all_that_was_granted_is_answered_though_nothing_is_taken(
    autojump_clock: MockClock, count: int, length: int
) -> None:
    async with linked() as (link, peer, _):
        for _ in range(count):
            allow(link, length)
        data = long_frame(length)
        await peer.send(data * count + frame(PING, b"there?"))
        assert await peer.receive_frame() == Frame(PONG, b"there?")
        for _ in range(count):
            assert await whole(link) == data[-length:]


async def test_a_close_frame_behind_all_that_was_granted_is_answered_though_nothing_is_taken(
    autojump_clock: MockClock,
) -> None:
    async with linked() as (link, peer, _):
        allow(link, LONG)
        await peer.send(long_frame(LONG) + frame(CLOSE, (1000).to_bytes(2)))
        received = await peer.receive_frame()
        assert received
        assert received.close_code == 1000


async def test_a_lost_connection_is_noticed_though_nothing_is_taken(
    autojump_clock: MockClock,
) -> None:
    async with linked() as (link, peer, _):
        allow(link, LONG)
        await peer.send(long_frame(LONG)[:-1])
        await peer.stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert link.ended.fired


async def test_no_more_is_read_than_was_granted_and_a_little(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    async with linked() as (link, peer, watched):
        allow(link, LONG)
        await peer.send(long_frame(LONG))
        await trio.testing.wait_all_tasks_blocked()
        before = watched.read
        assert before >= LONG
        await send_in_background(nursery, peer, frame(TEXT, b"x" * 1000) * 100)
        assert watched.read <= before + 2 * guarded.READ_UNGRANTED
        assert await whole(link) == long_frame(LONG)[-LONG:]
        for _ in range(100):
            assert await link.receive(5) == "x" * 1000


@pytest.mark.parametrize("length", [0, 1])
async def test_tiny_messages_are_held_in_small_numbers(
    autojump_clock: MockClock, nursery: trio.Nursery, length: int
) -> None:
    count = 50_000
    async with linked() as (link, peer, watched):
        link.budget.promise(count, count)
        one = frame(BINARY, bytes(length))
        await send_in_background(nursery, peer, one * count)
        assert watched.read <= BINARIES * len(one) + 2 * (guarded.READ_UNGRANTED + count)
        for _ in range(count // 10):
            message = await link.receive(5)
            assert isinstance(message, BinaryMessage)
            assert message.length == length


async def test_the_number_of_messages_grows_with_their_bytes() -> None:
    queue = MessageQueue()
    held = 0
    with trio.move_on_after(0):
        while True:
            await queue.put(BinaryMessage([bytes(MIN_BINARY)], MIN_BINARY, 0.0, 0.0))
            held += 1
    assert held == 0, "a cancelled put adds nothing"
    for count in range(3 * BINARIES):
        await queue.put(BinaryMessage([bytes(MIN_BINARY)], MIN_BINARY, 0.0, float(count)))
    for count in range(3 * BINARIES):
        message = await queue.take()
        assert isinstance(message, BinaryMessage)
        assert message.last_byte == count


MAKERS: list[Callable[[int], Message]] = [
    str,
    lambda number: MessagePart([b"%d" % number]),
    lambda number: BinaryMessage([], 0, 0.0, float(number)),
]


@given(st.lists(st.sampled_from(MAKERS), max_size=200))
async def test_whatever_waits_the_order_stays(
    makers: list[Callable[[int], Message]],
) -> None:
    queue = MessageQueue()
    items = [make(number) for number, make in enumerate(makers)]
    async with trio.open_nursery() as nursery:
        for item in items:
            nursery.start_soon(queue.put, item)
            await trio.testing.wait_all_tasks_blocked()
        assert [await queue.take() for _ in items] == items
        queue.end()
        assert await queue.take() is None


async def test_signals_behind_data_keep_their_order(autojump_clock: MockClock) -> None:
    async with linked() as (link, peer, _):
        allow(link, LONG)
        allow(link, LONG)
        data = long_frame(LONG)

        async with trio.open_nursery() as nursery:
            await send_in_background(nursery, peer, FIRST + SECOND + data + FIRST + data + SECOND)
            assert await link.receive(5) == '{"first": 1}'
            assert await link.receive(5) == '{"second": 2}'
            assert await whole(link) == data[-LONG:]
            assert await link.receive(5) == '{"first": 1}'
            assert await whole(link) == data[-LONG:]
            assert await link.receive(5) == '{"second": 2}'
