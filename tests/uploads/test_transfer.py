"""Credits, and chunks that come in parts."""

import hashlib

import pytest
import trio
from helpers.memory_store import MemoryStore
from helpers.uploading import (
    CHUNK,
    DATA,
    MIB,
    MOST_OF_IT,
    WatchedStore,
    data_frame,
    hash_of,
    in_frames,
    large,
    the_end,
)
from helpers.wire import (
    BINARY,
    header,
    serving,
    text_frame,
    with_chunks,
)
from structlog.testing import capture_logs
from trio.testing import MockClock

from galileod.config.model import Config
from galileod.policy.settings import Chunks

pytestmark = pytest.mark.timeout(20)


async def test_a_chunk_above_its_credit_is_refused_on_its_header(autojump_clock: MockClock) -> None:
    store = MemoryStore()
    async with serving(store, with_chunks(100, 1)) as wire:
        raw = await wire.open_raw()
        await raw.send(text_frame({"name": "a.bin", "size": 1000}))
        assert (await raw.receive())["chunksize"] == 100
        await raw.send(header(BINARY, 101))
        signal = await raw.receive()
        assert signal["code"] == "bad_chunk"
        assert (signal["limit"], signal["received"]) == (100, 101)
    assert store.contents == {}


@pytest.mark.parametrize("in_flight", [1, 3, 16])
@pytest.mark.parametrize("size", [0, 1, 4, 39, 40])
async def test_no_more_credits_are_out_than_allowed_and_none_is_surplus(
    autojump_clock: MockClock, in_flight: int, size: int
) -> None:
    store = MemoryStore()
    with capture_logs() as logs:
        async with serving(store, with_chunks(4, in_flight)) as wire:
            client = await wire.open()
            await client.send({"name": "a.bin", "size": size})
            credits_out: list[int] = []
            most = sent = readies = 0

            async def collect() -> None:
                nonlocal most, readies
                # Whatever the server sends without an answer comes in no time on this clock.
                with trio.move_on_after(1):
                    while True:
                        signal = await client.receive()
                        assert signal["ready"] is True
                        credits_out.append(signal.get("chunksize", 0))
                        readies += 1
                most = max(most, len(credits_out))
                assert sum(credits_out) <= size - sent

            await collect()
            while sent < size:
                chunk = DATA[sent : min(sent + credits_out.pop(0), size)]
                await client.send_bytes(chunk)
                sent += len(chunk)
                await collect()
            assert credits_out == [0]
            chunks = -(-size // 4)
            assert readies == chunks + 1
            assert most == max(1, min(in_flight, chunks))
            await client.send({"finished": True})
            assert await client.receive() == {"close": True}
    assert store.contents == {"a.bin": DATA[:size]}
    assert the_end(logs)["in_flight_max"] == min(in_flight, chunks)
    assert the_end(logs)["chunks"] == chunks


async def test_smaller_chunks_than_granted_are_taken_and_their_answers_surplus_do_no_harm(
    autojump_clock: MockClock,
) -> None:
    store = MemoryStore()
    async with serving(store, with_chunks(1000, 4)) as wire:
        client = await wire.open()
        await client.send({"name": "a.bin", "size": len(DATA)})
        sent = finished = 0
        while (signal := await client.receive()).get("ready"):
            if sent < len(DATA):
                await client.send_bytes(DATA[sent : sent + 100])
                sent += 100
            else:
                # The sender that reads an empty chunk first, and then finishes twice.
                await (client.send_bytes(b"") if not finished else client.send({"finished": True}))
                finished += 1
        assert signal == {"close": True}
        await client.send({"finished": True})
        await client.send_bytes(b"")
        await client.close()
        await wire.all_ended()
    assert store.contents == {"a.bin": DATA}


@pytest.mark.parametrize("in_flight", [1, 2, 16])
@pytest.mark.parametrize("own", [250_000, 200_000, 65_536])
@pytest.mark.parametrize("size", [3_000_000, 3_932_160, 4_600_000, 5_900_000, 6_997_657, 7_900_000])
async def test_a_client_with_a_chunk_size_of_its_own_is_served_whatever_the_size_of_its_file(
    autojump_clock: MockClock, size: int, own: int, in_flight: int
) -> None:
    store, sent = MemoryStore(), 0
    content = (DATA * (size // len(DATA) + 1))[:size]
    async with serving(store, Config(chunks=Chunks(max_in_flight=in_flight))) as wire:
        raw = await wire.open_raw()
        await raw.send(text_frame({"name": "a.bin", "size": size}))
        while (signal := await raw.receive()).get("ready"):
            chunk = content[sent : sent + own]
            sent += len(chunk)
            await raw.send(data_frame(chunk) if chunk else text_frame({"finished": True}))
        assert signal == {"close": True}
    assert store.contents == {"a.bin": content}


@pytest.mark.parametrize("whole_frames", [False, True])
async def test_parts_of_a_chunk_are_stored_before_the_chunk_is_whole(
    autojump_clock: MockClock, *, whole_frames: bool
) -> None:
    store, data = WatchedStore(), large(CHUNK)
    message = in_frames(data, 12 if whole_frames else 1)
    async with serving(store, with_chunks(CHUNK, 1)) as wire:
        raw = await wire.open_raw()
        await raw.send(text_frame({"name": "a.bin", "size": CHUNK}))
        assert (await raw.receive())["chunksize"] == CHUNK
        await raw.send(message[:MOST_OF_IT])
        await trio.testing.wait_all_tasks_blocked()
        assert 2 * MIB <= len(store.content) <= MOST_OF_IT
        assert data.startswith(store.content)
        assert store.contents == {}
        await raw.send(message[MOST_OF_IT:])
        assert await raw.receive() == {"ready": True}
        assert store.content == data
        await raw.send(text_frame({"finished": True}))
        assert await raw.receive() == {"close": True}
    assert store.contents == {"a.bin": data}


@pytest.mark.parametrize("frames", [1, 2, 5, 100])
async def test_a_chunk_that_came_in_parts_is_one_chunk_in_the_log(
    autojump_clock: MockClock, frames: int
) -> None:
    store, data = WatchedStore(), large(CHUNK)
    sha1 = hashlib.sha1(data, usedforsecurity=False).hexdigest()
    with capture_logs() as logs:
        async with serving(store, with_chunks(CHUNK, 2)) as wire:
            raw = await wire.open_raw()
            await raw.send(text_frame({"name": "a.bin", "size": CHUNK}))
            await raw.receive()
            await raw.send(in_frames(data, frames))
            assert await raw.receive() == {"ready": True}
            await raw.send(text_frame({"finished": True, **hash_of("sha1", sha1)}))
            assert await raw.receive() == {"close": True}
    assert len(store.writes) > 1, "the chunk did not come in parts"
    assert sum(store.writes) == CHUNK
    assert store.contents == {"a.bin": data}
    end = the_end(logs)
    assert (end["chunks"], end["chunk_min"], end["chunk_max"]) == (1, CHUNK, CHUNK)
    assert (end["in_flight_max"], end["sha1"], end["hash_verified"]) == (1, sha1, True)


async def test_a_credit_is_given_back_at_the_end_of_its_chunk_and_not_before(
    autojump_clock: MockClock,
) -> None:
    store, data = WatchedStore(), large(4 * CHUNK)
    async with serving(store, with_chunks(CHUNK, 2)) as wire:
        share = wire.context.pool.share
        raw = await wire.open_raw()
        await raw.send(text_frame({"name": "a.bin", "size": len(data)}))
        for _ in range(2):
            assert await raw.receive() == {"ready": True, "chunksize": CHUNK}
        for number in range(2):
            stored = number * CHUNK
            message = in_frames(data[stored : stored + CHUNK], 1)
            for sent in range(0, CHUNK, MIB):
                await raw.send(message[sent : sent + MIB])
                with trio.move_on_after(1) as nothing_came:
                    await raw.receive_frame()
                assert nothing_came.cancelled_caught
                assert share.held == 2 * CHUNK
            assert len(store.content) > stored + 2 * MIB
            await raw.send(message[CHUNK:])
            assert await raw.receive() == {"ready": True, "chunksize": CHUNK}
            # What this chunk held was given back, and taken again for the next credit.
            assert share.held == 2 * CHUNK
            assert store.content == data[: stored + CHUNK]
        await raw.send(in_frames(data[2 * CHUNK : 3 * CHUNK], 1))
        await trio.testing.wait_all_tasks_blocked()
        assert share.held == CHUNK


@pytest.mark.parametrize("before", [0, 1])
@pytest.mark.parametrize("ending", ["lost", "closed", "silent"])
async def test_an_upload_that_ends_in_the_middle_of_a_chunk_leaves_nothing(
    autojump_clock: MockClock, ending: str, before: int
) -> None:
    store, data = WatchedStore(), large(2 * CHUNK)
    with capture_logs() as logs:
        async with serving(store, with_chunks(CHUNK, 1)) as wire:
            raw = await wire.open_raw()
            await raw.send(text_frame({"name": "a.bin", "size": len(data)}))
            await raw.receive()
            for _ in range(before):
                await raw.send(in_frames(data[:CHUNK], 1))
                await raw.receive()
            await raw.send(in_frames(data[before * CHUNK :][:CHUNK], 1)[:MOST_OF_IT])
            await trio.testing.wait_all_tasks_blocked()
            assert len(store.content) >= before * CHUNK + 2 * MIB
            match ending:
                case "lost":
                    await trio.aclose_forcefully(raw.stream)
                case "closed":
                    await raw.stream.send_eof()
                case "silent":
                    assert (await raw.receive())["code"] == "idle"
                    await raw.stream.aclose()
            await wire.all_ended()
            assert store.open_sinks == 0
            assert wire.context.pool.share.held == 0
    assert store.contents == {}
    assert the_end(logs)["event"] == "upload.failed"
    assert the_end(logs)["code"] == ("idle" if ending == "silent" else "disconnected")
    assert the_end(logs)["received"] == before * CHUNK, "what came of no whole chunk does not count"
