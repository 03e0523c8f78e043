"""An upload that runs at one node, and is claimed at another."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
import trio
from attrs import evolve, frozen
from helpers.furthering import answers, begin, limited, stored, whole
from helpers.memory_store import MemoryStore
from helpers.shared_ledger import NodeLedger, Shared
from helpers.uploading import DATA, StubbornStore, sleeping
from helpers.wire import BINARY, RawPeer, Wire, frame, serving, text_frame, with_chunks
from trio.testing import MockClock, wait_all_tasks_blocked

from galileod.config.model import Config
from galileod.ledger.base import KeptUpload, LedgerError
from galileod.policy.settings import Resume
from galileod.units import Size
from galileod.uploads.handover import DISCARD_SECONDS
from galileod.uploads.keeper import EXPIRY_SECONDS

pytestmark = pytest.mark.timeout(20)

KEY = "0123456789abcdef" * 2
HALF = len(DATA) // 2
CONFIG = with_chunks(HALF, 1, Config(resume=Resume(min_size=Size(1))))
SMALL = Config()
IDLE = CONFIG.timeouts.idle


@frozen
class Node:
    wire: Wire
    ledger: NodeLedger
    store: MemoryStore


@asynccontextmanager
async def nodes(
    count: int,
    config: Config = CONFIG,
    store: MemoryStore | None = None,
    *,
    listening: bool = True,
    settled: bool = True,
) -> AsyncIterator[list[Node]]:
    """So many nodes with one store and one ledger, which hear each other if `listening`."""
    shared, store = Shared(), store or MemoryStore()
    async with AsyncExitStack() as stack:
        stack.callback(shared.database.close)
        made = []
        for number in range(count):
            ledger = shared.node(f"node-{number}")
            serve = serving(store, config, ledger=ledger, settled=settled)
            node = Node(await stack.enter_async_context(serve), ledger, store)
            node.wire.context.claims._clock = trio.current_time
            made.append(node)
        if listening:
            for node in made:
                node.wire.nursery.start_soon(node.wire.context.handover.run)
        yield made


async def claim(node: Node, **more: object) -> RawPeer:
    """A connection that has sent the metadata, some time after those before."""
    await trio.sleep(1)
    client = await node.wire.open_raw()
    metadata = {"name": "a", "size": len(DATA), "can": ["resume"], "upload": KEY, **more}
    await client.send(text_frame(metadata))
    return client


async def hear(client: RawPeer) -> dict[str, Any]:
    _, signal = await client.receive_after_pings()
    return signal


async def run(node: Node, **more: object) -> RawPeer:
    """An upload of which one half has come."""
    client = await claim(node, **more)
    assert (await hear(client))["offset"] == 0
    await client.send(frame(BINARY, DATA[:HALF]))
    assert (await hear(client))["ready"] is True
    return client


async def finish(client: RawPeer, offset: int) -> dict[str, Any]:
    """Send the rest; the last signal."""
    while offset < len(DATA):
        await client.send(frame(BINARY, DATA[offset : offset + HALF]))
        offset += HALF
        assert (await hear(client))["ready"] is True
    await client.send(text_frame({"finished": True}))
    return await hear(client)


@pytest.mark.parametrize("silent", [False, True])
async def test_the_newer_connection_continues_what_runs_at_another_node(
    autojump_clock: MockClock, *, silent: bool
) -> None:
    async with nodes(2) as (first, second):
        first.ledger.shared.silent = silent
        older = await run(first)
        newer = await claim(second)
        assert (await hear(older))["code"] == "taken_over"
        assert (await hear(newer))["offset"] == HALF
        assert (await finish(newer, HALF))["close"] is True
        assert first.ledger.shared.asks == {}
    assert first.store.contents == {"a": DATA}


async def test_a_node_that_cannot_hear_the_others_looks_for_what_they_ask(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail() -> None:
        await trio.lowlevel.checkpoint()
        raise LedgerError("too many connections")

    async with nodes(2) as (first, second):
        monkeypatch.setattr(first.ledger.elsewhere, "listen", fail)
        older = await run(first)
        newer = await claim(second)
        assert (await hear(older))["code"] == "taken_over"
        assert (await hear(newer))["offset"] == HALF
        assert (await finish(newer, HALF))["close"] is True


async def test_a_message_between_nodes_makes_it_quick(autojump_clock: MockClock) -> None:
    async with nodes(2) as (first, second):
        older = await run(first)
        newer = await claim(second)
        began = trio.current_time()
        assert (await hear(newer))["offset"] == HALF
        assert trio.current_time() - began < 0.1
        assert (await hear(older))["code"] == "taken_over"
        await finish(newer, HALF)


async def test_once_it_is_finished_the_newer_waits_and_hears_that_it_is_stored(
    autojump_clock: MockClock,
) -> None:
    store = StubbornStore("commit", sleeping(IDLE / 2))
    async with nodes(2, store=store) as (first, second):
        older = await run(first)
        await older.send(frame(BINARY, DATA[HALF:]))
        assert (await hear(older))["ready"] is True
        await older.send(text_frame({"finished": True}))
        await wait_all_tasks_blocked()
        newer = await claim(second)
        assert (await hear(newer))["close"] is True
        assert (await hear(older))["close"] is True
    assert store.contents == {"a": DATA}


async def test_one_that_failed_after_it_was_finished_begins_anew(
    autojump_clock: MockClock,
) -> None:
    store = StubbornStore("digest", sleeping(IDLE / 2))
    async with nodes(2, store=store) as (first, second):
        older = await run(first)
        await older.send(frame(BINARY, DATA[HALF:]))
        assert (await hear(older))["ready"] is True
        wrong = {"type": "sha1", "value": "0" * 40}
        await older.send(text_frame({"finished": True, "hash": wrong}))
        await wait_all_tasks_blocked()
        newer = await claim(second)
        assert (await hear(older))["code"] == "hash_mismatch"
        assert (await hear(newer))["offset"] == 0
        store.heal()
        assert (await finish(newer, 0))["close"] is True


async def test_one_waits_with_pings_for_what_takes_too_long_and_hears_busy(
    autojump_clock: MockClock,
) -> None:
    store = StubbornStore("commit", sleeping(2 * IDLE))
    async with nodes(2, store=store) as (first, second):
        older = await run(first)
        await older.send(frame(BINARY, DATA[HALF:]))
        assert (await hear(older))["ready"] is True
        await older.send(text_frame({"finished": True}))
        await wait_all_tasks_blocked()
        newer = await claim(second)
        pings, signal = await newer.receive_after_pings()
        assert pings
        assert signal["code"] == "busy"
        assert first.ledger.shared.asks == {}
        assert (await hear(older))["close"] is True


async def test_one_goes_on_once_others_have_kept_what_a_dead_node_ran(
    autojump_clock: MockClock,
) -> None:
    async with nodes(2, listening=False, settled=False) as (first, second):
        await run(first)
        newer = await claim(second)
        await trio.sleep(IDLE / 2)
        ((upload, _, _),) = first.ledger.shared.rows("key IS NOT NULL")
        await second.ledger.keep(upload, HALF, HALF, 60, 16)
        assert (await hear(newer))["offset"] == HALF


async def test_one_waits_while_the_ledger_fails(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with nodes(2) as (first, second):
        older = await run(first)

        async def fail(*_: object) -> None:
            await trio.lowlevel.checkpoint()
            raise LedgerError("it fails")

        for node, method in ((second, "ask"), (first, "look")):
            with monkeypatch.context() as failing:
                failing.setattr(node.ledger.elsewhere, method, fail)
                newer = await claim(node)
                await trio.sleep(IDLE / 2)
            assert (await hear(newer))["offset"] == HALF
            assert (await hear(older))["code"] == "taken_over"
            older = newer
        assert (await finish(older, HALF))["close"] is True


async def test_of_two_that_wait_the_newer_gets_it(autojump_clock: MockClock) -> None:
    async with nodes(3, listening=False) as (first, second, third):
        older = await run(first)
        middle = await claim(second)
        await wait_all_tasks_blocked()
        newest = await claim(third)
        assert (await hear(middle))["code"] == "taken_over"
        for node in (first, second, third):
            node.wire.nursery.start_soon(node.wire.context.handover.run)
        assert (await hear(older))["code"] == "taken_over"
        assert (await hear(newest))["offset"] == HALF
        await finish(newest, HALF)


async def test_an_older_connection_does_not_get_what_a_newer_one_has(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with nodes(2) as (first, second):
        gate, reserve = trio.Event(), first.ledger.reserve

        async def slowly(*args: Any) -> None:  # noqa: ANN401  as there
            await gate.wait()
            await reserve(*args)

        monkeypatch.setattr(first.ledger, "reserve", slowly)
        older = await claim(first)
        await wait_all_tasks_blocked()
        newer = await run(second)
        gate.set()
        assert (await hear(older))["code"] == "taken_over"
        assert (await finish(newer, HALF))["close"] is True


async def test_other_metadata_stop_nobody(autojump_clock: MockClock) -> None:
    async with nodes(2) as (first, second):
        older = await run(first)
        newer = await claim(second, name="b")
        assert (await hear(newer))["code"] == "bad_metadata"
        assert (await finish(older, HALF))["close"] is True


async def test_nobody_is_asked_any_more_when_the_connection_ends(
    autojump_clock: MockClock,
) -> None:
    async with nodes(2, listening=False) as (first, second):
        older = await run(first)
        newer = await claim(second)
        await wait_all_tasks_blocked()
        assert first.ledger.shared.asks
        await newer.stream.aclose()
        await second.wire.all_ended()
        assert not first.ledger.shared.asks
        assert (await finish(older, HALF))["close"] is True


async def test_a_stop_ends_the_wait(autojump_clock: MockClock) -> None:
    async with nodes(2, listening=False) as (first, second):
        older = await run(first)
        newer = await claim(second)
        await wait_all_tasks_blocked()
        second.wire.shutdown.no_uploads.fire()
        assert (await hear(newer))["code"] == "shutting_down"
        assert (await finish(older, HALF))["close"] is True


async def test_a_client_cancels_what_runs_at_another_node(autojump_clock: MockClock) -> None:
    async with nodes(2) as (first, second):
        older = await run(first)
        newer = await claim(second, abandon=True)
        assert (await hear(older))["code"] == "taken_over"
        assert (await hear(newer))["code"] == "abandoned"
    assert first.store.spool == {}


async def test_what_could_not_be_released_is_dropped_when_another_node_asks(
    autojump_clock: MockClock,
) -> None:
    async with nodes(2) as (first, second):
        first.ledger.fails = True
        older = await claim(first)
        assert (await hear(older))["offset"] == 0
        await older.send(text_frame({"name": "b", "size": 1}))
        assert (await hear(older))["code"] == "bad_message"
        await first.wire.all_ended()
        first.ledger.fails = False
        newer = await claim(second)
        assert (await hear(newer))["offset"] == 0
        assert (await finish(newer, 0))["close"] is True


async def test_what_could_not_be_kept_is_kept_when_another_node_asks(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with nodes(2) as (first, second):
        older = await run(first)

        async def fail(*_: object) -> list[KeptUpload]:
            await trio.lowlevel.checkpoint()
            raise LedgerError("it fails")

        with monkeypatch.context() as failing:
            failing.setattr(first.ledger, "keep", fail)
            await older.stream.aclose()
            await first.wire.all_ended()
        newer = await claim(second)
        assert (await hear(newer))["offset"] == HALF
        assert (await finish(newer, HALF))["close"] is True


async def test_a_node_learns_that_others_have_kept_uploads_which_can_give_way(
    autojump_clock: MockClock,
) -> None:
    async with nodes(2) as (first, second):
        second.wire.nursery.start_soon(second.wire.context.keeper.run)
        older = await run(first)
        await older.stream.aclose()
        await first.wire.all_ended()
        assert not second.wire.context.keeper.any
        await trio.sleep(EXPIRY_SECONDS + 1)
        assert second.wire.context.keeper.any


async def test_a_small_file_waits_for_the_node_that_stores_it(autojump_clock: MockClock) -> None:
    store = MemoryStore()
    async with nodes(2, SMALL, store) as (first, second):
        older, newer = await claim(first), await claim(second)
        await finish_small(older)
        await finish_small(newer)
        assert (await hear(older))["close"] is True
        assert (await hear(newer))["close"] is True
    assert store.contents == {"a": DATA}


async def finish_small(client: RawPeer) -> None:
    assert (await hear(client))["ready"] is True
    await client.send(frame(BINARY, DATA))
    assert (await hear(client))["ready"] is True
    await client.send(text_frame({"finished": True}))


async def test_a_whole_file_waits_for_another_node_and_holds_up_no_others(
    autojump_clock: MockClock,
) -> None:
    config = evolve(CONFIG, chunks=limited(whole=len(DATA)).chunks)
    async with nodes(2, config, listening=False) as (first, second):
        older = await claim(first)
        assert (await hear(older))["offset"] == 0
        newer = await begin(second.wire, ("next", "resume"), upload="f" * 32)
        await trio.sleep(1)
        await newer.send(whole("a", DATA, upload=KEY) + whole("b", b"b"))
        assert await answers(newer, 1) == {2: stored("b")}
        first.wire.nursery.start_soon(first.wire.context.handover.run)
        assert (await hear(older))["code"] == "taken_over"
        assert await answers(newer, 1) == {1: stored("a")}
    assert first.store.contents == {"0": b"", "a": DATA, "b": b"b"}
    assert first.store.open_sinks == 0


async def test_a_whole_file_for_which_a_newer_connection_has_asked_is_discarded(
    autojump_clock: MockClock,
) -> None:
    config = evolve(CONFIG, chunks=limited(whole=len(DATA)).chunks)
    async with nodes(3, config, listening=False) as (first, second, third):
        older = await claim(first)
        assert (await hear(older))["offset"] == 0
        middle = await begin(second.wire, ("next", "resume"), upload="f" * 32)
        await trio.sleep(1)
        await middle.send(whole("a", DATA, upload=KEY))
        await wait_all_tasks_blocked()
        newest = await claim(third)
        assert (await answers(middle, 1))[1]["code"] == "taken_over"
        first.wire.nursery.start_soon(first.wire.context.handover.run)
        assert (await hear(older))["code"] == "taken_over"
        assert (await hear(newest))["offset"] == 0
        assert first.store.open_sinks == 1
        assert (await finish(newest, 0))["close"] is True
    assert first.store.open_sinks == 0


# What an administrator discards.


def running(node: Node) -> str:
    """The id of the only upload that runs there."""
    (upload,) = node.wire.context.running
    return upload


async def test_an_upload_that_runs_at_another_node_is_discarded_there(
    autojump_clock: MockClock,
) -> None:
    async with nodes(2) as (first, second):
        client = await run(first)
        upload = running(first)
        asked = await second.wire.context.handover.discard(upload)
        assert asked is not None
        there, outcome = asked
        assert (there.upload, there.node, there.size) == (upload, "node-0", len(DATA))
        assert outcome == "discarded"
        assert (await hear(client))["code"] == "abandoned"
        await first.wire.all_ended()
        assert first.ledger.shared.discards == {}
        assert await second.wire.context.handover.discard(upload) is None
    assert (first.store.contents, first.store.spool) == ({}, {})


async def test_an_upload_that_is_being_stored_at_another_node_is_not_discarded(
    autojump_clock: MockClock,
) -> None:
    store = StubbornStore("commit", sleeping(5))
    async with nodes(2, store=store) as (first, second):
        client = await run(first)
        await client.send(frame(BINARY, DATA[HALF:]))
        assert (await hear(client))["ready"] is True
        await client.send(text_frame({"finished": True}))
        await trio.sleep(1)
        asked = await second.wire.context.handover.discard(running(first))
        assert asked is not None
        assert asked[1] == "complete"
        assert (await hear(client))["close"] is True
    assert store.contents == {"a": DATA}


async def test_a_node_that_does_not_answer_is_not_waited_for(autojump_clock: MockClock) -> None:
    async with nodes(2, listening=False) as (first, second):
        client = await run(first)
        began = trio.current_time()
        asked = await second.wire.context.handover.discard(running(first))
        assert asked is not None
        assert asked[1] == "running"
        assert trio.current_time() - began <= DISCARD_SECONDS + 1
        assert first.ledger.shared.discards == {}
        assert (await finish(client, HALF))["close"] is True


async def test_an_upload_that_ends_before_its_node_answers_is_said_to_have_ended(
    autojump_clock: MockClock,
) -> None:
    async with nodes(2, listening=False) as (first, second):
        client = await run(first)
        upload = running(first)
        outcomes = list[str]()

        async def discard() -> None:
            asked = await second.wire.context.handover.discard(upload)
            assert asked is not None
            outcomes.append(asked[1])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(discard)
            await trio.sleep(1)
            assert (await finish(client, HALF))["close"] is True
        assert outcomes == ["ended"]


async def test_an_upload_that_runs_nowhere_is_not_asked_for(autojump_clock: MockClock) -> None:
    async with nodes(2) as (first, second):
        client = await run(first)
        assert await first.wire.context.handover.discard(running(first)) is None
        assert await second.wire.context.handover.discard("0" * 16) is None
        assert (await finish(client, HALF))["close"] is True
    async with serving(MemoryStore()) as wire:
        assert await wire.context.handover.discard("0" * 16) is None
