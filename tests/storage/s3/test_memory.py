"""The memory for parts: many uploads share little of it, and all of them end."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from attrs import evolve
from helpers.fake_bucket import MIB, FakeClient, open_fake
from helpers.wire import Wire, serving
from trio.testing import MockClock, wait_all_tasks_blocked

from galileod.config.model import Config
from galileod.net.settings import Timeouts
from galileod.policy.settings import Chunks
from galileod.storage.s3.memory import PartMemory
from galileod.storage.s3.store import S3Store
from galileod.units import Duration, Size
from galileod.uploads.memory import MemoryPool, PoolPartMemory

pytestmark = pytest.mark.timeout(60)

FOUR = 6 * MIB
"""Memory for four buffers of a MiB, three quarters of it."""


def content(number: int, size: int) -> bytes:
    return number.to_bytes(2, "big") * (size // 2)


async def upload(store: S3Store, number: int, size: int) -> None:
    data = content(number, size)
    async with await store.create(f"u{number}", f"{number}", size=size) as sink:
        await sink.make_ready(f"owner {number}")
        for start in range(0, size, MIB // 3):
            await sink.write([data[start : start + MIB // 3]])
            await trio.sleep(number % 5)
        await sink.commit()


async def test_64_uploads_of_three_parts_end_with_memory_for_four_buffers(
    autojump_clock: MockClock,
) -> None:
    pool = MemoryPool(FOUR, 250_000)
    store, client = open_fake(PoolPartMemory(pool))
    most = 0

    async def watch() -> None:
        nonlocal most
        while True:
            most = max(most, pool.share.held)
            await trio.sleep(0.5)

    with trio.fail_after(10_000):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            async with trio.open_nursery() as uploads:
                for number in range(64):
                    uploads.start_soon(upload, store, number, 3 * MIB - number)
            nursery.cancel_scope.cancel()
    expected = {f"{number}": content(number, 3 * MIB - number) for number in range(64)}
    assert client.objects == expected
    assert most == 4 * MIB
    assert (pool.share.held, pool.share.buffers) == (0, 0)


class LateMemory(PartMemory):
    """That of a server which is started after the store."""

    inner: PartMemory

    @property
    def largest(self) -> int:
        return self.inner.largest

    def take(self, length: int, owner: str) -> bool:
        return self.inner.take(length, owner)

    async def wait(self, length: int, owner: str) -> None:
        await self.inner.wait(length, owner)

    def give_back(self, length: int, owner: str) -> None:
        self.inner.give_back(length, owner)


@asynccontextmanager
async def serving_fake(config: Config) -> AsyncIterator[tuple[Wire, FakeClient]]:
    memory = LateMemory()
    store, client = open_fake(memory)
    async with serving(store, config) as wire:
        memory.inner = PoolPartMemory(wire.context.pool)
        yield wire, client


def with_memory(total: int, idle: float) -> Config:
    chunks = Chunks(memory=Size(total), whole=Size(0))
    return evolve(Config(chunks=chunks), timeouts=Timeouts(idle=Duration(idle)))


async def test_uploads_that_wait_for_a_buffer_hold_no_credit_that_others_need(
    autojump_clock: MockClock,
) -> None:
    async with serving_fake(with_memory(FOUR, 10_000)) as (wire, client):

        async def send(number: int) -> None:
            peer = await wire.open()
            data = content(number, 2 * MIB + 2 * number)
            assert await peer.upload(f"{number}", data) == {"close": True}
            await peer.close()

        async with trio.open_nursery() as nursery:
            for number in range(40):
                nursery.start_soon(send, number)
    assert client.objects == {
        f"{number}": content(number, 2 * MIB + 2 * number) for number in range(40)
    }


async def test_who_waits_for_a_buffer_for_longer_than_idle_hears_busy(
    autojump_clock: MockClock,
) -> None:
    async with serving_fake(with_memory(FOUR, 60)) as (wire, _):
        # All are of one user, who may hold half of the buffers.
        holders = [await wire.open() for _ in range(2)]
        for number, peer in enumerate(holders):
            await peer.send({"name": f"{number}", "size": 2 * MIB})
            assert (await peer.receive())["ready"]
        waiting = await wire.open()
        await waiting.send({"name": "waiting", "size": 2 * MIB})
        await wait_all_tasks_blocked()
        assert wire.context.pool.share.waiting == 0, "for credits"
        for _ in range(3):
            await trio.sleep(15)
            for peer in holders:
                await peer.send_bytes(bytes(50_000))
        assert (await waiting.receive())["code"] == "busy"
        for peer in holders:
            await peer.close()
