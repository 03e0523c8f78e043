"""Nodes with one ledger in PostgreSQL: what only one may get, and uploads that change nodes."""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
from attrs import evolve
from helpers.ledger_nodes import LedgerNodes
from helpers.ledgers import allow, resumable
from helpers.memory_store import MemorySink, MemoryStore
from helpers.rounds import rounds
from helpers.uploading import large
from helpers.wire import BINARY, RawPeer, Wire, frame, serving, text_frame, with_chunks

from galileod.config.model import Config
from galileod.files.retention import Retention
from galileod.ledger.base import AlreadyUsedError, SingleUse, WholeEntry
from galileod.ledger.objects import NameTakenError
from galileod.ledger.outbox import KINDS
from galileod.ledger.postgresql import PostgresqlLedger
from galileod.policy.quota import QuotaFault, check_quota
from galileod.policy.settings import Quota, Resume
from galileod.units import Size

pytestmark = pytest.mark.timeout(600)

NODES = 3
KEY = "0123456789abcdef" * 2
CHUNK = 100
CONFIG = with_chunks(CHUNK, 1, Config(resume=Resume(min_size=Size(1))))
FAR = 4e9
"""A time in the future."""


@pytest.fixture
def ledgers(ledger_url: str) -> Iterator[list[PostgresqlLedger]]:
    with ExitStack() as opened:
        yield LedgerNodes(ledger_url, opened).start_many(NODES)


class OneSinkStore(MemoryStore):
    """Fails the test if two sinks of one upload are open."""

    def make_sink(self, upload: str, path: str) -> MemorySink:
        assert not self.open_sinks
        return super().make_sink(upload, path)


@asynccontextmanager
async def serving_nodes(
    ledgers: list[PostgresqlLedger], store: MemoryStore, config: Config = CONFIG
) -> AsyncIterator[list[Wire]]:
    """A server over each of the ledgers, all with the same store."""
    async with AsyncExitStack() as stack:
        wires = []
        for ledger in ledgers:
            wire = await stack.enter_async_context(serving(store, config, ledger=ledger))
            wire.nursery.start_soon(wire.context.handover.run)
            wires.append(wire)
        yield wires


async def together(count: int, step: Callable[[int], Awaitable[object]]) -> Counter[object]:
    """What steps return that run at the same time, and how often."""
    results = Counter[object]()

    async def run(number: int) -> None:
        results[await step(number)] += 1

    async with trio.open_nursery() as nursery:
        for number in range(count):
            nursery.start_soon(run, number)
    return results


async def test_a_quota_fits_exactly_as_many_uploads_at_all_nodes(
    ledgers: list[PostgresqlLedger],
) -> None:
    fits = partial(check_quota, Quota(total_bytes=Size(5000)), 100)

    async def reserve(number: int) -> str:
        try:
            await ledgers[number % NODES].reserve(f"{number}", f"user {number % 7}", 100, fits)
        except QuotaFault:
            return "refused"
        return "reserved"

    assert await together(200, reserve) == {"reserved": 50, "refused": 150}
    assert (await ledgers[0].total()).reserved == 5000


async def test_a_quota_fits_exactly_as_many_whole_files_at_all_nodes(
    ledgers: list[PostgresqlLedger],
) -> None:
    fits = partial(check_quota, Quota(user_files=50), 100)

    entered = list[bool]()

    async def enter(number: int) -> None:
        entries = [WholeEntry(f"{number}.{one}", "anna", 100, fits) for one in range(10)]
        entered.extend(one is None for one in await ledgers[number % NODES].enter_whole(entries))

    await together(20, enter)
    assert Counter(entered) == {True: 50, False: 150}
    assert (await ledgers[0].total()).uploads == 50


async def test_one_upload_gets_a_ticket_that_is_valid_once(ledgers: list[PostgresqlLedger]) -> None:
    async def use(number: int) -> str:
        ledger, ticket = ledgers[number % NODES], SingleUse(f"ticket {number // NODES}", FAR)
        try:
            await ledger.reserve(f"{number}", "anna", 1, allow, ticket)
        except AlreadyUsedError:
            return "used before"
        return "used"

    assert await together(20 * NODES, use) == {"used": 20, "used before": 40}


async def test_one_upload_gets_a_name(ledgers: list[PostgresqlLedger]) -> None:
    async def claim(number: int) -> str:
        objects, name = ledgers[number % NODES].objects, f"name {number // NODES}"
        await objects.begin(f"{number}", 1, 1)
        try:
            return await objects.claim(f"{number}", name, "reject")
        except NameTakenError:
            return "taken"

    claimed = await together(20 * NODES, claim)
    assert claimed.pop("taken") == 40
    assert set(claimed.values()) == {1}
    assert len(claimed) == 20


async def test_each_upload_gets_a_name_of_its_own(ledgers: list[PostgresqlLedger]) -> None:
    async def claim(number: int) -> str:
        objects = ledgers[number % NODES].objects
        await objects.begin(f"{number}", 1, 1)
        return await objects.claim(f"{number}", "a", "rename")

    claimed = await together(60, claim)
    assert claimed.keys() == {"a", *(f"a ({number})" for number in range(1, 60))}


async def test_one_of_those_that_begin_an_upload_at_once_gets_it(
    ledgers: list[PostgresqlLedger],
) -> None:
    async def enter(number: int) -> str:
        entry = WholeEntry(f"{number}", "anna", 1, allow, resumable=resumable("key"), identity="1")
        (result,) = await ledgers[number % NODES].enter_whole([entry])
        return type(result).__name__

    # Of one node, only one connection at a time has the upload: the claims there see to that.
    assert await together(NODES, enter) == {"NoneType": 1, "RunningUpload": NODES - 1}


async def claim(wire: Wire, size: int, **more: object) -> RawPeer:
    client = await wire.open_raw()
    metadata = {"name": "a", "size": size, "can": ["resume"], "upload": KEY}
    await client.send(text_frame({**metadata, **more}))
    return client


async def hear(client: RawPeer) -> dict[str, Any]:
    _, signal = await client.receive_after_pings()
    return signal


async def test_an_upload_goes_to_and_fro_between_nodes(ledgers: list[PostgresqlLedger]) -> None:
    count = rounds(30, 200)
    data = large((count + 1) * CHUNK)
    store = OneSinkStore()
    async with serving_nodes(ledgers, store) as wires:
        client = await claim(wires[0], len(data))
        first = await hear(client)
        for number in range(count):
            offset = first["offset"]
            assert offset == number * CHUNK
            await client.send(frame(BINARY, data[offset : offset + CHUNK]))
            assert (await hear(client))["ready"] is True
            newer = await claim(wires[(number * 2 + 1) % NODES], len(data))
            assert (await hear(client))["code"] == "taken_over"
            first, client = await hear(newer), newer
        await client.send(frame(BINARY, data[first["offset"] :]))
        assert (await hear(client))["ready"] is True
        await client.send(text_frame({"finished": True}))
        assert (await hear(client))["close"] is True
        with ledgers[0].database.reading() as connection:
            assert connection.execute("SELECT FROM asks").rowcount == 0
    assert store.contents == {"a": data}


async def test_one_of_many_connections_at_all_nodes_stores_the_upload_once(
    ledgers: list[PostgresqlLedger],
) -> None:
    data, store = large(3 * CHUNK), OneSinkStore()

    async def send(wires: list[Wire], number: int) -> str:
        """One connection, as far as it gets."""
        client = await claim(wires[number % NODES], len(data))
        signal = await hear(client)
        offset = signal.get("offset", 0)
        while signal.get("ready"):
            if offset < len(data):
                await client.send(frame(BINARY, data[offset : offset + CHUNK]))
                offset += CHUNK
            else:
                await client.send(text_frame({"finished": True}))
            signal = await hear(client)
        return "stored" if signal.get("close") else str(signal["code"])

    async with serving_nodes(ledgers, store) as wires:
        ends = await together(rounds(30, 200), partial(send, wires))
        assert ends.keys() <= {"stored", "taken_over"}
        assert await send(wires, 0) == "stored"
        assert (await ledgers[0].total()).files == 1
    assert store.contents == {"a": data}


async def test_files_of_one_name_replace_each_other_at_all_nodes_and_the_ledger_has_the_last(
    ledgers: list[PostgresqlLedger],
) -> None:
    config = evolve(CONFIG, storage=evolve(CONFIG.storage, on_conflict="replace"))
    store = MemoryStore("replace")
    store.claims_names = True  # as object storage does

    async def send(wires: list[Wire], number: int) -> str:
        client = await wires[number % NODES].open()
        signal = await client.upload("a", large(number + 1))
        await client.websocket.aclose()
        return str(signal.get("code", "stored"))

    async with serving_nodes(ledgers, store, config) as wires:
        for _ in range(rounds(3, 20)):
            ends = await together(5 * NODES, partial(send, wires))
            assert ends == {"stored": 5 * NODES}
            found = await ledgers[0].entries(["a"])
            assert found["a"].size == len(store.contents["a"])


async def test_each_file_is_removed_and_told_once_when_its_time_is_over(
    ledgers: list[PostgresqlLedger],
) -> None:
    hooks = evolve(CONFIG.hooks, removed=("notify",))
    store = MemoryStore()
    names = {f"{number}" for number in range(40)}
    async with serving_nodes(ledgers, store, evolve(CONFIG, hooks=hooks)) as wires:
        for name in names:
            client = await wires[0].open()
            assert await client.upload(name, large(CHUNK)) == {"close": True}
            await client.websocket.aclose()
        tasks = [
            Retention(wire.ledger, wire.context.remover, lambda: 0.0)._take_turn for wire in wires
        ]
        await together(NODES, lambda number: tasks[number]())
        while store.contents:  # a node that has not got its turn tries again
            await together(NODES, lambda number: tasks[number]())
        owed = await ledgers[0].outbox.first(1000, KINDS)
        assert sorted(one.name for one in owed) == sorted(names)
        assert (await ledgers[0].total()).files == 0


@pytest.mark.parametrize("whole", [0, CHUNK])
async def test_uploads_at_all_nodes_fill_a_quota_exactly(
    ledgers: list[PostgresqlLedger], whole: int
) -> None:
    config = evolve(CONFIG, quota=Quota(total_files=10))
    config = evolve(config, chunks=evolve(config.chunks, whole=Size(whole)))
    store = MemoryStore()

    async def send(wires: list[Wire], number: int) -> str:
        client = await wires[number % NODES].open()
        signal = await client.upload(f"{number}", large(CHUNK))
        await client.websocket.aclose()
        return str(signal.get("code", "stored"))

    async with serving_nodes(ledgers, store, config) as wires:
        ends = await together(rounds(40, 200), partial(send, wires))
    assert ends["stored"] == 10
    assert ends.keys() == {"stored", "quota_exceeded"}
    assert len(store.contents) == 10
