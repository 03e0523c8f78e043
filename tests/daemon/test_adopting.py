"""A configuration that changes under uploads that run: they keep theirs, and bounds stay exact."""

from pathlib import Path

import pytest
import trio
from attrs import evolve
from helpers.local_store import listed
from helpers.memory_store import MemoryStore
from helpers.wire import Wire, WireClient, serving
from trio.testing import MockClock, wait_all_tasks_blocked

from galileod.config.model import Config
from galileod.net.settings import Timeouts
from galileod.policy.publication import OnConflict
from galileod.policy.settings import Chunks, Hash, Limits
from galileod.storage.base import Sink
from galileod.storage.local import LocalStore
from galileod.storage.settings import Storage
from galileod.units import Duration, Size
from galileod.uploads.memory import MemoryAccount, MemoryPool

pytestmark = pytest.mark.timeout(30)

KIB = 1024


def chunks(most: int = 1024 * KIB, in_flight: int = 1, memory: int = 256 << 20) -> Config:
    sizes = Chunks(min=Size(64 * KIB), max=Size(most), max_in_flight=in_flight, memory=Size(memory))
    return Config(chunks=sizes)


async def begin(wire: Wire, size: int) -> WireClient:
    client = await wire.open()
    await client.send({"name": "a", "size": size})
    return client


async def finish(client: WireClient, sizes: list[int], left: int) -> list[int]:
    """Answer each credit with all that it takes, up to the end; gives the sizes of the others."""
    granted = list(sizes)
    while left:
        if not sizes:
            sizes.append((await client.receive())["chunksize"])
            granted.append(sizes[0])
        length = min(sizes.pop(0), left)
        await client.send_bytes(bytes(length))
        left -= length
    while (signal := await client.receive()).get("chunksize"):
        pass
    assert signal == {"ready": True}
    await client.send({"finished": True})
    assert (await client.receive())["close"]
    await client.close()
    return granted


@pytest.mark.parametrize(
    ("began", "now", "most"),
    [
        (1024 * KIB, 300_000, 300_000),
        (1024 * KIB, 8 << 20, 1024 * KIB),
        # Never below what a client needs that knows no other size.
        (1024 * KIB, 64 * KIB, 250_000),
        (128 * KIB, 64 * KIB, 128 * KIB),
    ],
)
async def test_a_credit_is_at_most_the_lower_of_then_and_now(
    autojump_clock: MockClock, began: int, now: int, most: int
) -> None:
    size = 6 << 20
    async with serving(MemoryStore(), chunks(began)) as wire:
        client = await begin(wire, size)
        first = (await client.receive())["chunksize"]
        wire.context.adopt(chunks(now))
        granted = await finish(client, [first], size)
    assert max(granted[1:]) <= most
    assert max(granted[1:]) > most // 2


@pytest.mark.parametrize(("began", "now", "at_once"), [(4, 1, 1), (4, 2, 2), (1, 4, 1)])
async def test_credits_in_flight_are_at_most_the_lower_of_then_and_now(
    autojump_clock: MockClock, began: int, now: int, at_once: int
) -> None:
    async with serving(MemoryStore(), chunks(64 * KIB, began)) as wire:
        client = await begin(wire, 64 << 20)
        for _ in range(began):
            await client.receive()
        wire.context.adopt(chunks(64 * KIB, now))
        for _ in range(began):
            await client.send_bytes(bytes(64 * KIB))
        for _ in range(at_once):
            await client.receive()
        with trio.move_on_after(1) as waited:
            await client.receive()
        assert waited.cancelled_caught
        await client.close()


async def test_an_upload_keeps_what_else_it_began_with_and_the_next_one_has_it_new(
    autojump_clock: MockClock,
) -> None:
    before = Config(timeouts=Timeouts(idle=Duration(100)), limits=Limits(min_rate=Size(0)))
    after = Config(
        timeouts=Timeouts(idle=Duration(5)),
        limits=Limits(min_rate=Size(1000), max_file_size=Size(5)),
        hash=Hash(required=True),
    )
    async with serving(MemoryStore(), before) as wire:
        waiting = await wire.open()
        client = await begin(wire, 10)
        await client.receive()
        wire.context.adopt(evolve(after, storage=wire.context.config.storage))
        await trio.sleep(90)
        assert await finish(client, [10], 10) == [10]
        # An upload begins with its metadata, not with its connection.
        waiting = await begin(wire, 6)
        assert (await waiting.receive())["code"] == "too_large"
        late = await begin(wire, 5)
        began = trio.current_time()
        await late.receive()
        assert (await late.receive())["code"] == "idle"
        assert trio.current_time() - began == pytest.approx(5)
        hashless = await wire.open()
        assert (await hashless.upload("b", b"12345"))["code"] == "hash_required"
        for left in (waiting, late, hashless):
            await left.close()


async def test_a_connection_that_was_there_before_uploads_by_the_settings_of_now(
    autojump_clock: MockClock,
) -> None:
    async with serving(MemoryStore()) as wire:
        client = await wire.open()
        wire.context.adopt(evolve(wire.context.config, limits=Limits(max_file_size=Size(5))))
        assert (await client.upload("a", bytes(6)))["code"] == "too_large"
        await client.close()


async def test_a_turn_is_counted_as_it_was_given_though_shares_change_meanwhile(
    autojump_clock: MockClock,
) -> None:
    pool = MemoryPool(100, 10)
    pool.share.take(100)
    given = list[int]()

    async def upload() -> None:
        account = MemoryAccount(pool, "somebody")
        given.append(await account.wait_for_share())
        account.settle(0)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(upload)
        left = trio.CancelScope()

        async def leaving() -> None:
            account = MemoryAccount(pool, "somebody")
            with left:
                await account.wait_for_share()
            account.settle(0)

        await wait_all_tasks_blocked()
        nursery.start_soon(leaving)
        await wait_all_tasks_blocked()
        # Both have their turn, and the shares are others before they run.
        pool.give_back(20)
        left.cancel()
        pool.resize(200, 40)
    assert given == [10]
    assert pool.share.held == 80
    assert not pool.by_user


async def test_memory_that_becomes_less_holds_uploads_up_and_ends_none(
    autojump_clock: MockClock,
) -> None:
    size = 8 << 20
    async with serving(MemoryStore(), chunks(in_flight=8)) as wire:
        clients = [await begin(wire, size) for _ in range(4)]
        sizes = [[(await client.receive())["chunksize"]] for client in clients]
        await wait_all_tasks_blocked()
        held = wire.context.pool.share.held
        wire.context.adopt(chunks(in_flight=8, memory=250_000))
        assert wire.context.pool.share.held == held > 250_000
        async with trio.open_nursery() as nursery:
            for client, first in zip(clients, sizes, strict=True):
                nursery.start_soon(finish, client, first, size)
        assert wire.context.pool.share.held == 0


async def test_files_that_take_others_places_and_files_that_do_not_leave_the_ledger_right(
    tmp_path: Path,
) -> None:
    modes: tuple[OnConflict, ...] = ("rename", "replace")
    config = Config(storage=Storage(directory=str(tmp_path)))
    store = LocalStore.open(Storage(directory=str(tmp_path), durability="none"))
    async with serving(store, config) as wire:
        for _ in range(5):
            async with trio.open_nursery() as nursery:
                for size in range(1, 9):

                    async def upload(size: int = size) -> None:
                        client = await wire.open()
                        store.reconfigure(Storage(on_conflict=modes[size % 2]))
                        assert (await client.upload("same", bytes(size)))["close"]
                        await client.close()

                    nursery.start_soon(upload)
        (holding,) = wire.context.ledger.holdings().values()
        assert holding.bytes == sum(listed(store).values())
        assert holding.files == len(listed(store))
    store.close()


async def test_a_file_that_replaces_is_alone_from_its_publication_to_the_ledger(
    autojump_clock: MockClock,
) -> None:
    store, told = MemoryStore("replace"), list[str]()
    replacing = await store.create("1", "a")
    store.reconfigure(Storage(on_conflict="rename"))
    renaming = await store.create("2", "b")
    async with serving(store) as wire, trio.open_nursery() as nursery:

        async def publish(sink: Sink, what: str) -> None:
            async with wire.context.publication.hold([], replaces=sink.replaces):
                told.append(f"{what} began")
                await trio.sleep(1)
                told.append(f"{what} ended")

        for sink, what in ((renaming, "a"), (renaming, "b"), (replacing, "C"), (renaming, "d")):
            nursery.start_soon(publish, sink, what)
            await wait_all_tasks_blocked()
        left = trio.CancelScope()
        with left:
            left.cancel()
            await publish(replacing, "never")
    assert told[:2] == ["a began", "b began"]
    assert sorted(told[2:4]) == ["a ended", "b ended"]
    assert told[4:] == ["C began", "C ended", "d began", "d ended"]
