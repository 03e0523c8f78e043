"""Limits that an upload meets on its way: rate, memory, quota, disk."""

from pathlib import Path

import pytest
import trio
from attrs import evolve
from helpers.memory_store import MemorySink, MemoryStore
from helpers.wire import BINARY, PONG, Wire, WireClient, frame, serving, text_frame
from trio.testing import MockClock

from galileod.config.model import Config
from galileod.ledger.base import LedgerError
from galileod.net.settings import Timeouts
from galileod.policy.settings import Chunks, Limits, Quota
from galileod.storage.local import LocalStore
from galileod.storage.settings import Storage
from galileod.units import Duration, Size

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


def small_memory(memory: int, chunk: int = 64 * KIB) -> Config:
    chunks = Chunks(min=Size(chunk), max=Size(chunk), memory=Size(memory))
    return Config(chunks=chunks, limits=Limits(min_rate=Size(0)))


async def begin(wire: Wire, name: str, size: int) -> WireClient:
    client = await wire.open()
    await client.send({"name": name, "size": size})
    return client


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


async def test_quota_is_held_by_an_upload_and_given_back_when_it_fails(
    autojump_clock: MockClock,
) -> None:
    store = MemoryStore()
    async with serving(store, Config(quota=Quota(user_bytes=Size(100)))) as wire:
        client = await begin(wire, "a", 60)
        await client.receive()
        refused = await begin(wire, "b", 41)
        signal = await refused.receive()
        assert (signal["code"], signal["limit"], signal["used"]) == ("quota_exceeded", 100, 60)
        await client.close()
        await wire.all_ended()
        again = await wire.open()
        assert await again.upload("b", bytes(41)) == {"close": True}
        full = await begin(wire, "c", 60)
        assert (await full.receive())["used"] == 41
    assert store.contents == {"b": bytes(41)}


class SmallStore(MemoryStore):
    """Has room for 1,000 bytes beside what is stored; counts what was ever created."""

    created = 0

    async def free(self) -> int:
        await trio.lowlevel.checkpoint()
        return 1000

    async def create(self, upload: str, name: str) -> MemorySink:
        self.created += 1
        return await super().create(upload, name)


async def test_declared_sizes_of_running_uploads_count_against_the_free_disk(
    autojump_clock: MockClock,
) -> None:
    store = SmallStore()
    async with serving(store) as wire:
        client = await begin(wire, "a", 600)
        assert (await client.receive())["ready"]
        refused = await begin(wire, "b", 401)
        assert (await refused.receive())["code"] == "no_space"
        assert store.created == 1
        fits = await begin(wire, "c", 400)
        assert (await fits.receive())["ready"]


def broken(*_: object) -> None:
    raise LedgerError("disk I/O error")


async def test_a_ledger_that_fails_before_the_upload_refuses_it(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(MemoryStore()) as wire:
        with monkeypatch.context() as patch:
            patch.setattr("galileod.ledger.sqlite.SqliteLedger.reserve", broken)
            client = await begin(wire, "a", 1)
            assert (await client.receive())["code"] == "storage_failed"
        again = await wire.open()
        assert await again.upload("a", b"x") == {"close": True}


async def test_a_ledger_that_fails_after_the_file_is_stored_loses_neither_file_nor_quota(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MemoryStore()
    async with serving(store, Config(quota=Quota(total_files=1)), settled=False) as wire:
        monkeypatch.setattr("galileod.ledger.sqlite.SqliteLedger.commit", broken)
        client = await wire.open()
        assert await client.upload("a", b"x") == {"close": True}
        full = await begin(wire, "b", 1)
        assert (await full.receive())["code"] == "quota_exceeded"
    assert store.contents == {"a": b"x"}


async def test_a_client_that_leaves_the_line_is_noticed_at_once(autojump_clock: MockClock) -> None:
    async with serving(MemoryStore(), small_memory(64 * KIB)) as wire:
        first = await begin(wire, "first", 64 * KIB)
        await first.receive()
        gone = await wire.open_raw()
        await gone.send(text_frame({"name": "gone", "size": 1}))
        await trio.testing.wait_all_tasks_blocked()
        assert len(wire.context.running) == 2
        await gone.stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert len(wire.context.running) == 1


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


async def test_files_that_replace_each_other_at_once_leave_the_ledger_right(
    tmp_path: Path,
) -> None:
    storage = Storage(directory=str(tmp_path), on_conflict="replace", durability="none")
    config, store = Config(storage=storage), LocalStore.open(storage)
    async with serving(store, config) as wire:
        for _ in range(5):
            async with trio.open_nursery() as nursery:
                for size in range(1, 9):

                    async def upload(size: int = size) -> None:
                        client = await wire.open()
                        assert await client.upload("same", bytes(size)) == {"close": True}
                        await client.close()

                    nursery.start_soon(upload)
            (holding,) = wire.context.ledger.holdings().values()
            assert {"same": holding.bytes} == store.files()
    store.close()
