"""What an upload makes of a lease that runs out, or is lost."""

from collections.abc import Sequence

import pytest
import trio
from helpers.memory_store import MemorySink, MemoryStore
from helpers.nodes import FakeNode
from helpers.uploading import DATA
from helpers.wire import BINARY, RawPeer, Wire, frame, serving, text_frame, with_chunks
from trio.testing import MockClock, wait_all_tasks_blocked

from galileod.config.model import Config
from galileod.ledger.lease import (
    BEGIN_SECONDS,
    LEASE_SECONDS,
    WAIT_SECONDS,
    Lease,
    LeaseLostError,
)
from galileod.ledger.records import Commit
from galileod.ledger.unavailable import UnavailableError
from galileod.policy.settings import Resume
from galileod.storage.base import Stored
from galileod.units import Size

pytestmark = pytest.mark.timeout(20)

KEY = "0123456789abcdef" * 2
HALF = len(DATA) // 2
CONFIG = with_chunks(HALF, 1, Config(resume=Resume(min_size=Size(1))))
LONG = 100.0
"""Longer than `timeouts.idle`, and shorter than an upload waits."""


class StrictSink(MemorySink):
    """Fails the test if anything is written, or published, without the lease."""

    lease: Lease

    async def write(self, pieces: Sequence[bytes]) -> None:
        assert self.lease.is_valid()
        await super().write(pieces)

    async def commit(self) -> Stored:
        assert self.lease.is_valid()
        return await super().commit()


class StrictStore(MemoryStore):
    def __init__(self, lease: Lease) -> None:
        super().__init__()
        self._lease = lease

    def make_sink(self, upload: str, path: str) -> MemorySink:
        sink = StrictSink(self, path, upload)
        sink.lease = self._lease
        return sink


def valid_lease() -> Lease:
    lease = Lease(trio.current_time)
    lease.renewed(trio.current_time())
    return lease


async def begin(wire: Wire, lease: Lease, size: int = len(DATA)) -> RawPeer:
    """An upload whose first chunk is due."""
    wire.context.lease = lease
    client = await wire.open_raw()
    await client.send(
        text_frame({"name": "a", "size": size, "can": ["resume"], "upload": KEY}),
    )
    assert (await client.receive())["ready"] is True
    return client


async def test_an_upload_waits_for_the_lease_with_pings_and_goes_on(
    autojump_clock: MockClock,
) -> None:
    lease = valid_lease()
    store = StrictStore(lease)
    async with serving(store, CONFIG) as wire:
        client = await begin(wire, lease)
        await trio.sleep(LEASE_SECONDS)
        await client.send(frame(BINARY, DATA[:HALF]))
        wire.nursery.start_soon(renew_after, LONG, lease)
        pings, signal = await client.receive_after_pings()
        assert pings
        assert signal["ready"] is True
        await client.send(frame(BINARY, DATA[HALF:]))
        assert (await client.receive())["ready"] is True
        await client.send(text_frame({"finished": True}))
        assert (await client.receive())["close"] is True
    assert store.contents == {"a": DATA}


async def test_a_complete_file_is_published_only_with_the_lease(autojump_clock: MockClock) -> None:
    lease = valid_lease()
    store = StrictStore(lease)
    async with serving(store, CONFIG) as wire:
        client = await begin(wire, lease, HALF)
        await client.send(frame(BINARY, DATA[:HALF]))
        assert (await client.receive())["ready"] is True
        await trio.sleep(LEASE_SECONDS)
        await client.send(text_frame({"finished": True}))
        with trio.move_on_after(LONG / 2):
            await client.receive_after_pings()
        assert not store.contents
        wire.nursery.start_soon(renew_after, LONG / 2, lease)
        _, signal = await client.receive_after_pings()
        assert signal["close"] is True
    assert store.contents == {"a": DATA[:HALF]}


async def test_a_small_file_is_stored_only_with_the_lease(autojump_clock: MockClock) -> None:
    lease = valid_lease()
    store = StrictStore(lease)
    async with serving(store) as wire:
        client = await begin(wire, lease)
        await client.send(frame(BINARY, DATA))
        assert (await client.receive())["ready"] is True
        await trio.sleep(LEASE_SECONDS)
        await client.send(text_frame({"finished": True}))
        wire.nursery.start_soon(renew_after, LONG, lease)
        pings, signal = await client.receive_after_pings()
        assert pings
        assert signal["close"] is True
    assert store.contents == {"a": DATA}


@pytest.mark.parametrize("waits", [False, True])
async def test_an_upload_whose_lease_is_lost_ends_with_what_its_client_tries_again_after(
    autojump_clock: MockClock, *, waits: bool
) -> None:
    lease = valid_lease()
    store = StrictStore(lease)
    async with serving(store, CONFIG) as wire:
        client = await begin(wire, lease)
        await client.send(frame(BINARY, DATA[:HALF]))
        assert (await client.receive())["ready"] is True
        if waits:
            await trio.sleep(LEASE_SECONDS)
            await client.send(frame(BINARY, DATA[HALF:]))
            await wait_all_tasks_blocked()
        lease.lose()
        _, signal = await client.receive_after_pings()
        assert (signal["code"], signal["fatal"]) == ("busy", True)
        assert signal["kept"] == CONFIG.resume.keep
        with trio.fail_after(60):
            await lease.wait_unused()
    assert not store.contents


@pytest.mark.parametrize("config", [CONFIG, Config()])
@pytest.mark.parametrize("lost", [False, True])
async def test_a_new_upload_is_soon_refused_without_the_lease(
    autojump_clock: MockClock, config: Config, *, lost: bool
) -> None:
    lease = valid_lease()
    store = StrictStore(lease)
    if lost:
        lease.lose()
    else:
        await trio.sleep(LEASE_SECONDS)
    async with serving(store, config) as wire:
        wire.context.lease = lease
        client = await wire.open()
        began = trio.current_time()
        assert (await client.upload("a", DATA))["code"] == "busy"
        assert trio.current_time() - began == (0 if lost else BEGIN_SECONDS)
    assert not store.contents


async def test_an_upload_does_not_wait_for_the_lease_for_ever(autojump_clock: MockClock) -> None:
    lease = valid_lease()
    store = StrictStore(lease)
    async with serving(store, CONFIG) as wire:
        client = await begin(wire, lease)
        await trio.sleep(LEASE_SECONDS)
        began = trio.current_time()
        await client.send(frame(BINARY, DATA[:HALF]))
        _, signal = await client.receive_after_pings()
        assert signal["code"] == "busy"
        assert trio.current_time() - began == pytest.approx(WAIT_SECONDS, abs=1)


async def renew_after(seconds: float, lease: Lease) -> None:
    await trio.sleep(seconds)
    lease.renewed(trio.current_time())


@pytest.mark.parametrize("config", [CONFIG, Config()])
@pytest.mark.parametrize("lost", [False, True])
async def test_a_file_that_others_may_have_settled_before_it_was_published_is_not_confirmed(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, config: Config, *, lost: bool
) -> None:
    """The process was stopped for longer than its lease while it published the file."""
    store = MemoryStore()
    async with serving(store, config, settled=False) as wire:
        node = wire.ledger.node = FakeNode()
        node.lease.renewed(trio.current_time())

        async def refuse(commits: Sequence[Commit]) -> None:
            await trio.sleep(LEASE_SECONDS)
            raise LeaseLostError("it is lost") if lost else UnavailableError("it is away")

        client = await begin(wire, node.lease)
        monkeypatch.setattr(wire.ledger, "commit_whole", refuse)
        length = HALF if config is CONFIG else len(DATA)
        for start in range(0, len(DATA), length):
            await client.send(frame(BINARY, DATA[start : start + length]))
            assert (await client.receive())["ready"] is True
        await client.send(text_frame({"finished": True}))
        _, signal = await client.receive_after_pings()
        assert (signal["code"], signal["fatal"]) == ("busy", True)
        monkeypatch.undo()
        node.lease.renewed(trio.current_time())
        # It is stored once, whether this node or another makes up for that.
        if not lost:
            again = await wire.open()
            await again.send({"name": "a", "size": len(DATA), "can": ["resume"], "upload": KEY})
            assert (await again.receive())["close"] is True
    assert store.contents == {"a": DATA}
