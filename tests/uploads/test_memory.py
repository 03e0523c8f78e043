"""Uploads that wait for memory, and share it."""

import gc

import trio
from attrs import evolve
from helpers.memory_store import MemoryStore
from helpers.uploading import StubbornStore, begin, data_frame, sleeping
from helpers.wire import PING, PONG, Frame, frame, serving, text_frame
from trio.testing import MockClock

from galileod.config.model import Config
from galileod.net.messages import BinaryMessage
from galileod.net.settings import Timeouts
from galileod.policy.settings import Chunks, Limits
from galileod.units import Duration, Size

KIB = 1024


def small_memory(memory: int, chunk: int = 64 * KIB) -> Config:
    chunks = Chunks(min=Size(chunk), max=Size(chunk), memory=Size(memory), whole=Size(0))
    return Config(chunks=chunks, limits=Limits(min_rate=Size(0)))


async def test_when_all_memory_is_promised_uploads_wait_for_their_turn(
    autojump_clock: MockClock,
) -> None:
    store = MemoryStore()
    async with serving(store, small_memory(128 * KIB)) as wire:
        first = await begin(wire, "first", 64 * KIB)
        second = await begin(wire, "second", 64 * KIB)
        for client in (first, second):
            assert await client.receive() == {"ready": True, "chunksize": 64 * KIB}
        third = await begin(wire, "third", 64 * KIB)
        with trio.move_on_after(5) as waited:
            await third.receive()
        assert waited.cancelled_caught
        await first.send_bytes(bytes(64 * KIB))
        assert await third.receive() == {"ready": True, "chunksize": 64 * KIB}
        for client in (first, second, third):
            await client.close()


async def test_an_upload_that_ends_while_it_waits_leaves_the_line(
    autojump_clock: MockClock,
) -> None:
    async with serving(MemoryStore(), small_memory(64 * KIB)) as wire:
        first = await begin(wire, "first", 64 * KIB)
        await first.receive()
        waiting = await begin(wire, "waiting", 64 * KIB)
        await trio.testing.wait_all_tasks_blocked()
        wire.shutdown.no_uploads.fire()
        assert (await waiting.receive())["code"] == "shutting_down"
        assert (await first.receive())["code"] == "shutting_down"
        await wire.all_ended()
        assert wire.context.pool.share.free == 64 * KIB


async def test_many_uploads_share_a_small_memory_and_all_are_stored(
    autojump_clock: MockClock,
) -> None:
    store = MemoryStore()
    content = {f"{number}": bytes([number]) * 300 * KIB for number in range(20)}
    async with serving(store, small_memory(256 * KIB, 16 * KIB)) as wire:
        async with trio.open_nursery() as nursery:
            for name, data in content.items():

                async def upload(name: str = name, data: bytes = data) -> None:
                    client = await wire.open()
                    assert await client.upload(name, data) == {"close": True}
                    await client.close()

                nursery.start_soon(upload)
        assert wire.context.pool.share.held == 0
    assert store.contents == content


async def test_what_short_chunks_left_over_is_no_leave_to_send_while_waiting(
    autojump_clock: MockClock,
) -> None:
    async with serving(MemoryStore(), small_memory(64 * KIB)) as wire:
        first = await begin(wire, "first", 1000 * KIB)
        second = await begin(wire, "second", 1000 * KIB)
        for _ in range(5):
            for client in (first, second):
                assert (await client.receive())["ready"]
                await client.send_bytes(b"1")
        assert (await first.receive())["ready"]
        # All memory is the first one's now, and the second has answered all that it was asked.
        await second.send_bytes(bytes(60_000))
        await trio.testing.wait_all_tasks_blocked()
        await first.send_bytes(bytes(64 * KIB))
        while "error" not in (answer := await second.receive()):
            assert answer["ready"]
        assert answer["code"] == "bad_chunk"
        await first.close()


async def test_a_client_with_smaller_chunks_than_its_credits_is_served_out_of_the_last_memory(
    autojump_clock: MockClock,
) -> None:
    store = MemoryStore()
    async with serving(store, small_memory(64 * KIB)) as wire:
        client = await begin(wire, "a", 100_000)
        for _ in range(2):
            assert (await client.receive())["ready"]
            await client.send_bytes(bytes(50_000))
        assert await client.receive() == {"ready": True}
        await client.send({"finished": True})
        assert await client.receive() == {"close": True}
        await client.close()
    assert store.contents == {"a": bytes(100_000)}


async def test_a_client_that_never_sends_holds_no_more_than_the_head_start(
    autojump_clock: MockClock,
) -> None:
    async with serving(MemoryStore(), Config()) as wire:
        for number in range(10):
            client = await begin(wire, f"{number}", 1 << 30)
            await client.receive()
        await trio.testing.wait_all_tasks_blocked()
        share = wire.context.pool.share
        assert share.held <= share.total // 16 + 10 * 256 * KIB


async def test_a_client_that_leaves_the_line_is_noticed_at_once(autojump_clock: MockClock) -> None:
    async with serving(MemoryStore(), small_memory(64 * KIB)) as wire:
        first = await begin(wire, "first", 64 * KIB)
        await first.receive()
        gone = await wire.open_raw()
        await gone.send(text_frame({"name": "gone", "size": 1}))
        await trio.testing.wait_all_tasks_blocked()
        assert len(wire.context.admission.running) == 2
        await gone.stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert len(wire.context.admission.running) == 1


async def test_nobody_waits_for_memory_longer_than_the_idle_time(
    autojump_clock: MockClock,
) -> None:
    config = evolve(small_memory(64 * KIB), timeouts=Timeouts(idle=Duration(60)))
    async with serving(MemoryStore(), config) as wire:
        first = await begin(wire, "first", 64 * KIB)
        await first.receive()
        await trio.sleep(1)
        second = await begin(wire, "second", 1)
        assert (await first.receive())["code"] == "idle"
        assert (await second.receive())["ready"]
        third = await begin(wire, "third", 1)
        assert (await third.receive())["code"] == "busy"


async def test_all_that_is_received_while_the_disk_stalls_is_accounted_for(
    autojump_clock: MockClock,
) -> None:
    memory, size = 16 * 1024 * KIB, 4 * 1024 * KIB
    store = StubbornStore("write", sleeping(1000))
    async with serving(store, small_memory(memory)) as wire:
        sent = 0
        peers = [await wire.open_raw() for _ in range(4)]
        for raw in peers:
            await raw.send(text_frame({"name": "a", "size": size}))
        for raw in peers:
            with trio.move_on_after(1):
                while True:
                    granted = (await raw.receive())["chunksize"]
                    await raw.send(data_frame(bytes(granted)))
                    sent += granted
            await raw.send(frame(PING, b"behind the data"))
            assert await raw.receive_frame() == Frame(PONG, b"behind the data")
        assert 4 * 64 * KIB < sent == wire.context.pool.share.held <= memory
        for raw in peers:
            await raw.stream.aclose()
        await wire.all_ended()


async def test_a_room_that_is_given_back_serves_the_upload_that_waits(
    autojump_clock: MockClock,
) -> None:
    async with serving(MemoryStore(), small_memory(128 * KIB, 16 * KIB)) as wire:
        pool = wire.context.pool
        room = pool.take_room(16 * KIB, 16 * KIB)
        assert room == pool.share.held == 16 * KIB
        pool.share.take(112 * KIB)
        client = await begin(wire, "waits", 16 * KIB)
        await trio.testing.wait_all_tasks_blocked()
        assert pool.share.waiting == 1
        pool.give_room_back(room)
        assert (await client.receive())["ready"]
        await client.close()
        pool.give_back(112 * KIB)


def messages() -> list[BinaryMessage]:
    """All that are in memory."""
    gc.collect()
    return [each for each in gc.get_objects() if isinstance(each, BinaryMessage)]


async def test_an_upload_that_waits_for_memory_keeps_nothing_of_what_is_stored(
    autojump_clock: MockClock,
) -> None:
    store = MemoryStore()
    of_others = messages()  # of tests before
    async with serving(store, small_memory(64 * KIB)) as wire:
        first = await begin(wire, "first", 128 * KIB)
        await first.receive()
        second = await begin(wire, "second", 128 * KIB)
        await first.send_bytes(bytes(64 * KIB))
        await second.receive()
        await trio.testing.wait_all_tasks_blocked()
        assert wire.context.pool.share.waiting == 1
        assert not [each for each in messages() if not any(each is one for one in of_others)]
        await first.close()
        await second.close()
