"""A client that has to wait gets Pings, wherever the server takes its time."""

from collections.abc import Callable

import pytest
import trio
from attrs import evolve
from helpers.memory_store import MemoryStore
from helpers.uploading import DATA, StubbornStore, data_frame, of_event, sleeping
from helpers.wire import CLOSE, PING, TEXT, Frame, RawPeer, frame, serving, text_frame, with_chunks
from structlog.testing import capture_logs
from trio.testing import MockClock, wait_all_tasks_blocked

from galileod.config.model import Config
from galileod.net.settings import Timeouts
from galileod.policy.settings import Chunks
from galileod.storage.base import Store
from galileod.units import Duration, Size

pytestmark = pytest.mark.timeout(20)

DELAY = 70
PINGS = DELAY // 20


class FullStore(MemoryStore):
    """Takes its time to say how much room it has."""

    async def free(self) -> int | None:
        await trio.sleep(DELAY)
        return await super().free()


async def upload(raw: RawPeer) -> list[int]:
    """Upload DATA in one chunk; returns how many Pings came before each signal."""
    pings = []
    await raw.send(text_frame({"name": "a.bin", "size": len(DATA)}))
    for answer in (data_frame(DATA), text_frame({"finished": True})):
        count, signal = await raw.receive_after_pings()
        assert signal["ready"]
        pings.append(count)
        await raw.send(answer)
    count, signal = await raw.receive_after_pings()
    assert signal == {"close": True}
    return [*pings, count]


@pytest.mark.parametrize(
    ("open_store", "pings"),
    [
        (MemoryStore, [0, 0, 0]),
        (FullStore, [PINGS, 0, 0]),
        (lambda: StubbornStore("create", sleeping(DELAY)), [PINGS, 0, 0]),
        (lambda: StubbornStore("write", sleeping(DELAY)), [0, PINGS, 0]),
        (lambda: StubbornStore("digest", sleeping(DELAY)), [0, 0, PINGS]),
        (lambda: StubbornStore("commit", sleeping(DELAY)), [0, 0, PINGS]),
    ],
)
async def test_a_client_that_waits_gets_pings(
    autojump_clock: MockClock, open_store: Callable[[], Store], pings: list[int]
) -> None:
    async with serving(open_store(), with_chunks(len(DATA), 1)) as wire:
        raw = await wire.open_raw()
        assert await upload(raw) == pings
        await raw.stream.aclose()


@pytest.mark.parametrize(("seconds", "busy"), [(50, False), (70, True)])
async def test_no_data_is_asked_for_before_the_store_has_memory_for_it(
    autojump_clock: MockClock, seconds: float, *, busy: bool
) -> None:
    store = StubbornStore("make_ready", sleeping(seconds))
    async with serving(store, with_chunks(len(DATA), 1)) as wire:
        raw = await wire.open_raw()
        await raw.send(text_frame({"name": "a.bin", "size": len(DATA)}))
        pings, signal = await raw.receive_after_pings()
        assert pings >= 2
        assert signal.get("ready") is (None if busy else True)
        assert signal.get("code") == ("busy" if busy else None)
        await raw.stream.aclose()


async def test_who_waits_for_memory_of_the_store_and_goes_is_not_waited_for(
    autojump_clock: MockClock,
) -> None:
    store = StubbornStore("make_ready", trio.sleep_forever)
    async with serving(store, with_chunks(len(DATA), 1)) as wire:
        raw = await wire.open_raw()
        await raw.send(text_frame({"name": "a.bin", "size": len(DATA)}))
        await wait_all_tasks_blocked()
        assert store.open_sinks == 1
        await raw.stream.aclose()
        await wire.all_ended()
        assert store.open_sinks == 0


async def test_a_client_that_waits_for_memory_gets_pings(autojump_clock: MockClock) -> None:
    chunks = Chunks(min=Size(1000), max=Size(1000), memory=Size(1000))
    config = evolve(Config(chunks=chunks), timeouts=Timeouts(idle=Duration(1000)))
    async with serving(MemoryStore(), config) as wire:
        first, second = await wire.open_raw(), await wire.open_raw()
        await first.send(text_frame({"name": "a", "size": 1000}))
        assert (await first.receive())["ready"]
        await second.send(text_frame({"name": "b", "size": 1000}))
        for _ in range(PINGS):
            assert await second.receive_frame() == Frame(PING, b"")
        await first.stream.aclose()
        began = trio.current_time()
        assert (await second.receive_after_pings())[1]["ready"]
        assert trio.current_time() == began
        await second.stream.aclose()


async def test_a_silent_client_that_answers_pings_is_idle(autojump_clock: MockClock) -> None:
    store = StubbornStore("create", sleeping(DELAY))
    async with serving(store, with_chunks(len(DATA), 1)) as wire:
        raw = await wire.open_raw()
        await raw.send(text_frame({"name": "a.bin", "size": len(DATA)}))
        pings, signal = await raw.receive_after_pings()
        assert (pings, signal["ready"]) == (PINGS, True)
        began = trio.current_time()
        pings, signal = await raw.receive_after_pings()
        assert (pings, signal["code"]) == (0, "idle")
        assert trio.current_time() == began + 60
        await raw.stream.aclose()


@pytest.mark.parametrize(
    ("ending", "reason"),
    [
        (frame(CLOSE, (1000).to_bytes(2)), "closed by the peer (code 1000)"),
        (frame(TEXT, b"\xff"), "closed by the server: bad_message"),
        (b"", "the connection was lost"),
    ],
)
async def test_a_client_that_leaves_while_it_waits_for_memory_is_not_kept(
    autojump_clock: MockClock, ending: bytes, reason: str
) -> None:
    chunks = Chunks(min=Size(1000), max=Size(1000), memory=Size(1000))
    with capture_logs() as logs:
        async with serving(MemoryStore(), Config(chunks=chunks)) as wire:
            first, second = await wire.open_raw(), await wire.open_raw()
            await first.send(text_frame({"name": "a", "size": 1000}))
            assert (await first.receive())["ready"]
            await second.send(text_frame({"name": "b", "size": 1000}))
            await wait_all_tasks_blocked()
            began = trio.current_time()
            if ending:
                await second.send(ending)
                await second.receive_frame()
            else:
                await second.stream.aclose()
            await wait_all_tasks_blocked()
            assert trio.current_time() == began
            (failed,) = of_event(logs, "upload.failed")
            assert failed["name"] == "b"
            await second.stream.aclose()
            await first.stream.aclose()
            await wire.all_ended()
    assert reason in [line["reason"] for line in of_event(logs, "connection.closed")]
