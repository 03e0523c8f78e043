"""The idle timeout, and the stream that feeds it."""

import pytest
import trio
from trio.testing import MockClock, open_stream_to_socket_listener

from galileod.client.idle import IdleTimeout, WatchedStream


async def test_silence_ends_what_waits(autojump_clock: MockClock) -> None:
    idle = IdleTimeout(10)
    with idle.scope:
        await trio.sleep(9)
        idle.activity()
        await trio.sleep(9)
        idle.activity()
        await trio.sleep_forever()
    assert idle.scope.cancelled_caught
    assert trio.current_time() == pytest.approx(28)


async def test_our_own_time_does_not_count(autojump_clock: MockClock) -> None:
    idle = IdleTimeout(10)
    with idle.scope:
        with idle.paused():
            await trio.sleep(1)
            idle.activity()
            await trio.sleep(100)
        await trio.sleep_forever()
    assert trio.current_time() == pytest.approx(111)


async def test_more_time_may_be_given(autojump_clock: MockClock) -> None:
    idle = IdleTimeout(10)
    with idle.scope:
        idle.extend(5)
        await trio.sleep_forever()
    assert trio.current_time() == pytest.approx(15)


async def test_every_byte_is_noticed_however_slowly_the_other_side_reads() -> None:
    moved = 0

    class Counting(IdleTimeout):
        def activity(self) -> None:
            nonlocal moved
            moved += 1

    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        ours = await open_stream_to_socket_listener(listener)
        theirs = await listener.accept()
        line, data, got = WatchedStream(ours, Counting(1)), bytes(8_000_000), 0
        moved = 0
        async with line, theirs, trio.open_nursery() as nursery:
            nursery.start_soon(line.send_all, data)
            while got < len(data):
                got += len(await theirs.receive_some(100_000))
            assert moved > 2
            await theirs.send_all(b"answer")
            before = moved
            assert await line.receive_some() == b"answer"
            assert moved == before + 1


async def test_a_broken_socket_is_told_in_trios_words() -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        ours = await open_stream_to_socket_listener(listener)
        theirs = await listener.accept()
        await theirs.aclose()
        # More than any buffer: the peer's reset comes in between.
        with pytest.raises(trio.BrokenResourceError):
            await WatchedStream(ours, IdleTimeout(10)).send_all(bytes(50_000_000))
        await ours.aclose()
