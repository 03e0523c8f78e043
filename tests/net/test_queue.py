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

from galileod.net import reader
from galileod.net.frames import TEXT_LIMIT, BinaryMessage, MessagePart
from galileod.net.messages import Message
from galileod.net.queue import BINARIES, MIN_BINARY, TEXT_CHARACTERS, MessageQueue
from galileod.net.websocket import TransportClosed

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
        assert watched.read <= before + 2 * reader.READ_UNGRANTED
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
        assert watched.read <= BINARIES * len(one) + 2 * (reader.READ_UNGRANTED + count)
        for _ in range(count // 10):
            message = await link.receive(5)
            assert isinstance(message, BinaryMessage)
            assert message.length == length


def test_the_number_of_messages_grows_with_their_bytes() -> None:
    queue = MessageQueue()
    held = 0
    while queue.put(BinaryMessage([], 0, 0.0, 0.0)):
        held += 1
    assert held == BINARIES
    assert queue.put(MessagePart([bytes(MIN_BINARY)] * 5))
    while queue.put(BinaryMessage([bytes(MIN_BINARY)], MIN_BINARY, 0.0, float(held))):
        held += 1
        if held == 3 * BINARIES:
            break
    assert held == 3 * BINARIES


def test_one_text_waits_or_as_many_as_are_allowed() -> None:
    queue = MessageQueue()
    assert queue.put("first")
    assert not queue.put("second")
    queue.allow_texts(3)
    assert [queue.put(text) for text in ("second", "third", "fourth")] == [True, True, False]
    assert queue.put(BinaryMessage([], 0, 0.0, 0.0)), "only signals are counted"
    assert queue.take() == "first"
    assert queue.put("fourth")


def test_texts_together_have_a_limited_length() -> None:
    queue = MessageQueue()
    queue.allow_texts(1000)
    long = "x" * TEXT_LIMIT
    held = 0
    while queue.put(long):
        held += 1
    assert held == TEXT_CHARACTERS // TEXT_LIMIT
    assert queue.put("") is True
    assert queue.take() == long
    assert queue.put(long)


MAKERS: list[Callable[[int], Message]] = [
    str,
    lambda number: MessagePart([b"%d" % number]),
    lambda number: BinaryMessage([b"%d" % number], 0, 0.0, float(number)),
]


@given(st.lists(st.sampled_from([*MAKERS, None]), max_size=300), st.integers(1, 5))
def test_whatever_is_put_and_taken_the_order_stays(
    steps: list[Callable[[int], Message] | None], texts: int
) -> None:
    queue = MessageQueue()
    queue.allow_texts(texts)
    items, taken = list[Message](), list[Message]()
    for number, make in enumerate(steps):
        if make is not None and queue.put(make(number)):
            items.append(make(number))
        elif (item := queue.take()) is not None:
            taken.append(item)
    while (item := queue.take()) is not None:
        taken.append(item)
    assert taken == items
    assert not queue
    assert queue.put("x"), "nothing is counted any more"


async def test_the_task_that_takes_is_woken_by_an_item_and_by_the_end(
    autojump_clock: MockClock,
) -> None:
    queue, woken = MessageQueue(), list[float]()

    async def wait() -> None:
        for _ in range(2):
            await queue.filled.wait()
            woken.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        began = trio.current_time()
        nursery.start_soon(wait)
        await trio.sleep(1)
        queue.put("x")
        await trio.sleep(1)
        queue.end()
    assert woken == [began + 1, began + 2]


async def test_more_signals_are_read_as_soon_as_they_are_allowed(
    autojump_clock: MockClock,
) -> None:
    async with linked() as (link, peer, _):
        await peer.send(frame(TEXT, b"x") * 5 + frame(PING, b"?"))
        with trio.move_on_after(1) as waiting:
            await peer.receive_frame()
        assert waiting.cancelled_caught, "the Ping is behind signals that are not taken"
        link.allow_texts(5)
        assert await peer.receive_frame() == Frame(PONG, b"?")
        assert [link.receive_nowait() for _ in range(6)] == ["x"] * 5 + [None]


async def test_what_has_arrived_is_there_without_waiting(autojump_clock: MockClock) -> None:
    async with linked() as (link, peer, _):
        link.allow_texts(2)
        allow(link, 3)
        assert link.receive_nowait() is None
        await peer.send(FIRST + frame(BINARY, b"abc") + SECOND + frame(CLOSE, (1001).to_bytes(2)))
        await trio.testing.wait_all_tasks_blocked()
        assert link.receive_nowait() == '{"first": 1}'
        assert link.budget.promised == 3
        message = link.receive_nowait()
        assert isinstance(message, BinaryMessage)
        assert b"".join(message.pieces) == b"abc"
        assert link.budget.promised == 0, "it counts as taken"
        assert link.receive_nowait() == '{"second": 2}'
        for _ in range(2):
            with pytest.raises(TransportClosed) as closed:
                link.receive_nowait()
            assert closed.value.code == 1001


async def test_a_peer_cannot_make_us_hold_more_signals_than_were_allowed(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    async with linked() as (link, peer, watched):
        link.allow_texts(1000)
        await send_in_background(nursery, peer, frame(TEXT, b"x" * 20_000, key=bytes(4)) * 50)
        assert watched.read <= TEXT_CHARACTERS + 20_000 + 2 * reader.READ_UNGRANTED
        for _ in range(50):
            assert await link.receive(5) == "x" * 20_000


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
