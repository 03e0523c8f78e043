"""The times and the rate that a client must keep while its data is due."""

import pytest
import trio
from attrs import evolve
from helpers.memory_store import MemoryStore
from helpers.uploading import CHUNK, DATA, StubbornStore, in_frames, large, sleeping, the_end
from helpers.wire import (
    BINARY,
    PING,
    PONG,
    frame,
    serving,
    text_frame,
    with_chunks,
)
from structlog.testing import capture_logs
from trio.testing import MockClock

from galileod.config.model import Config
from galileod.net.settings import Timeouts
from galileod.policy.settings import Chunks, Limits
from galileod.units import Duration, Size

pytestmark = pytest.mark.timeout(20)


@pytest.mark.parametrize("gone_before_the_end", [0, 1, 500])
async def test_a_client_that_falls_silent_is_given_up_after_the_idle_time_exactly(
    autojump_clock: MockClock,
    gone_before_the_end: int,
) -> None:
    store = MemoryStore()
    async with serving(store) as wire:
        raw = await wire.open_raw()
        await raw.send(text_frame({"name": "a.bin", "size": len(DATA)}))
        while len(DATA) > (await raw.receive())["chunksize"]:
            pass
        await trio.sleep(59)
        data = frame(BINARY, DATA)
        # One byte short, or none of the frame's payload: either way it is not whole.
        await raw.send(data[: len(data) - max(gone_before_the_end, 1)])
        began = trio.current_time()
        signal = await raw.receive()
        assert trio.current_time() == began + 60
        assert signal["code"] == "idle"
        assert signal["fatal"] is True
        assert store.contents == {}
        await raw.stream.aclose()
        await wire.all_ended()
        assert store.open_sinks == 0


@pytest.mark.parametrize("pings", [False, True])
async def test_every_byte_counts_as_progress(autojump_clock: MockClock, *, pings: bool) -> None:
    store = MemoryStore()
    async with serving(store, Config(limits=Limits(min_rate=Size(0)))) as wire:
        raw = await wire.open_raw()
        await raw.send(text_frame({"name": "a.bin", "size": 100}))
        await raw.receive()
        began = trio.current_time()
        for byte in frame(PING) * 20 if pings else frame(BINARY, DATA[:100]):
            await trio.sleep(59.9)
            await raw.send(bytes([byte]))
        if pings:
            await raw.send(frame(BINARY, DATA[:100]))
            for _ in range(20):
                assert await raw.receive_frame()
        assert await raw.receive() == {"ready": True}
        assert trio.current_time() > began + 100 * 59
        await raw.send(text_frame({"finished": True}))
        assert await raw.receive() == {"close": True}
    assert store.contents == {"a.bin": DATA[:100]}


@pytest.mark.parametrize("step", ["create", "write", "digest", "commit"])
async def test_the_time_that_the_storage_takes_is_not_the_clients(
    autojump_clock: MockClock, step: str
) -> None:
    store = StubbornStore(step, sleeping(1000))
    async with serving(store, with_chunks(400, 1)) as wire:
        client = await wire.open()
        assert await client.upload("a.bin", DATA) == {"close": True}
        assert trio.current_time() >= 1000
        await client.close()
    assert store.contents == {"a.bin": DATA}


@pytest.mark.parametrize("seconds", [59, 1000])
async def test_the_time_that_the_storage_takes_for_a_part_is_not_the_clients(
    autojump_clock: MockClock, seconds: int
) -> None:
    store, data = StubbornStore("write", sleeping(seconds)), large(2 * CHUNK)
    async with serving(store, with_chunks(CHUNK, 1)) as wire:
        raw = await wire.open_raw()
        await raw.send(text_frame({"name": "a.bin", "size": len(data)}))
        for at in range(0, len(data), CHUNK):
            _, signal = await raw.receive_after_pings()
            assert signal["chunksize"] == CHUNK
            await raw.send(in_frames(data[at : at + CHUNK], 1))
        assert (await raw.receive_after_pings())[1] == {"ready": True}
        await raw.send(text_frame({"finished": True}))
        assert await raw.receive() == {"close": True}
        assert trio.current_time() >= 4 * seconds
    assert store.contents == {"a.bin": data}


async def test_a_client_that_does_not_read_is_as_good_as_gone(autojump_clock: MockClock) -> None:
    store = MemoryStore()
    with capture_logs() as logs:
        async with serving(store) as wire:
            raw = await wire.open_raw(lockstep=True)
            await raw.send(text_frame({"name": "a.bin", "size": 10}))
            began = trio.current_time()
            await wire.all_ended()
            assert 60 <= trio.current_time() - began <= 60 + 5 + 1 + 5
    assert the_end(logs)["code"] == "disconnected"
    assert the_end(logs)["reason"] == "the peer does not read what we send"
    assert store.open_sinks == 0


KIB = 1024


def slow_limit(min_rate: int = 100, idle: float = 60) -> Config:
    return Config(limits=Limits(min_rate=Size(min_rate)), timeouts=Timeouts(idle=Duration(idle)))


@pytest.mark.parametrize(("rate", "slow"), [(50, True), (99, True), (101, False), (500, False)])
async def test_a_client_must_send_the_least_rate_while_it_is_waited_for(
    autojump_clock: MockClock, rate: int, *, slow: bool
) -> None:
    store, size = MemoryStore(), rate * 200
    async with serving(store, slow_limit()) as wire:
        raw = await wire.open_raw()
        await raw.send(text_frame({"name": "a.bin", "size": size}))
        await raw.receive()
        data = frame(BINARY, bytes(size))
        sent = 0
        with trio.move_on_after(199.5):
            while sent < len(data):
                await trio.sleep(1)
                try:
                    await raw.send(data[sent : sent + rate])
                except trio.BrokenResourceError:
                    break
                sent += rate
        signal = await raw.receive() if slow else {}
        assert signal.get("code") == ("too_slow" if slow else None)
        if slow:
            assert signal["limit"] == 100
            assert 59 <= trio.current_time() <= 75
        await raw.stream.aclose()


async def test_one_large_chunk_on_a_slow_line_is_progress(autojump_clock: MockClock) -> None:
    store = MemoryStore()
    chunks = Chunks(min=Size(1_000_000))
    async with serving(store, evolve(slow_limit(min_rate=1000), chunks=chunks)) as wire:
        raw = await wire.open_raw()
        await raw.send(text_frame({"name": "a.bin", "size": 1_000_000}))
        assert await raw.receive() == {"ready": True, "chunksize": 1_000_000}
        data = frame(BINARY, bytes(1_000_000))
        for sent in range(0, len(data), 2000):
            await trio.sleep(1)
            await raw.send(data[sent : sent + 2000])
        assert await raw.receive() == {"ready": True}
        await raw.send(text_frame({"finished": True}))
        assert await raw.receive() == {"close": True}
    assert len(store.contents["a.bin"]) == 1_000_000


class SlowStore(MemoryStore):
    """Takes a minute to say how much room it has."""

    async def free(self) -> int | None:
        await trio.sleep(60)
        return await super().free()


async def test_a_client_that_waits_for_us_is_never_blamed(autojump_clock: MockClock) -> None:
    store = SlowStore()
    async with serving(store, slow_limit(min_rate=10_000, idle=10)) as wire:
        client = await wire.open()
        assert await client.upload("a.bin", bytes(1000)) == {"close": True}
        assert trio.current_time() >= 60
        await client.close()


async def test_no_chatter_puts_off_the_end_of_an_upload(autojump_clock: MockClock) -> None:
    async with serving(MemoryStore()) as wire:
        raw = await wire.open_raw()
        await raw.send(text_frame({"name": "a", "size": 0}))
        assert await raw.receive() == {"ready": True}
        began = trio.current_time()
        try:
            for _ in range(1000):
                await raw.send(frame(PONG) + text_frame({}))
                await trio.sleep(5)
        except trio.BrokenResourceError:
            pass  # the server has ended it, as the time shows
        assert 60 <= trio.current_time() - began <= 75
