"""Uploads whose reservation the ledger has lost, as after a failover to an older state of it."""

from collections.abc import Awaitable, Callable, Sequence

import pytest
import trio
from attrs import evolve
from helpers.memory_store import MemoryStore
from helpers.uploading import DATA, SHA1, StubbornStore, of_event
from helpers.wire import BINARY, RawPeer, Wire, frame, serving, text_frame, with_chunks
from structlog.testing import capture_logs
from trio.testing import MockClock

from galileod.config.model import Config
from galileod.hooks.settings import Hooks
from galileod.ledger.sqlite import SqliteLedger
from galileod.policy.quota import Holding
from galileod.policy.settings import Quota, Resume
from galileod.storage.base import Stored
from galileod.storage.errors import StorageError
from galileod.storage.whole import Written
from galileod.units import Size

pytestmark = pytest.mark.timeout(20)

HALF = len(DATA) // 2
RESUMED = Config(resume=Resume(min_size=Size(1)))
STREAMED = with_chunks(HALF, 1, RESUMED)
RESERVED = Config(quota=Quota(total_files=10))
"""With a quota, a small file is reserved before it comes."""

METADATA = {"name": "a", "size": len(DATA), "can": ["resume"], "upload": "0123456789abcdef" * 2}


class LosingStore(StubbornStore):
    """Does `act` before it publishes a file: then it is promised, and not committed."""

    def __init__(self, act: Callable[[], Awaitable[None]]) -> None:
        super().__init__("commit", act)

    async def publish_whole(self, written: Sequence[Written]) -> Sequence[Stored | StorageError]:
        await self.step("commit")
        return await super().publish_whole(written)


def lose_rows(wire: Wire) -> None:
    assert isinstance(wire.ledger, SqliteLedger)
    with wire.ledger.database.transaction() as connection:
        connection.execute("DELETE FROM uploads")


async def send(wire: Wire, length: int) -> RawPeer:
    """Send the file in chunks of this length; the answer to `finished` is next."""
    client = await wire.open_raw()
    await client.send(text_frame(METADATA))
    assert (await client.receive())["ready"] is True
    for start in range(0, len(DATA), length):
        await client.send(frame(BINARY, DATA[start : start + length]))
        assert (await client.receive())["ready"] is True
    return client


@pytest.mark.parametrize("config", [STREAMED, RESERVED])
async def test_a_file_without_a_reservation_is_not_published_and_can_be_sent_again(
    autojump_clock: MockClock, config: Config
) -> None:
    length = HALF if config is STREAMED else len(DATA)
    store = MemoryStore()
    async with serving(store, config) as wire:
        client = await send(wire, length)
        lose_rows(wire)
        await client.send(text_frame({"finished": True}))
        signal = await client.receive()
        assert (signal["code"], signal["fatal"]) == ("storage_failed", True)
        assert "kept" not in signal
        assert (store.contents, store.spool, store.open_sinks) == ({}, {}, 0)
        client = await send(wire, length)
        await client.send(text_frame({"finished": True}))
        assert (await client.receive())["close"] is True
        assert store.contents == {"a": DATA}
        assert await wire.ledger.total() == Holding(bytes=len(DATA), files=1)


async def test_an_interrupted_upload_without_a_reservation_leaves_nothing(
    autojump_clock: MockClock,
) -> None:
    store = MemoryStore()
    with capture_logs() as logs:
        async with serving(store, STREAMED) as wire:
            client = await wire.open_raw()
            await client.send(text_frame(METADATA))
            assert (await client.receive())["ready"] is True
            await client.send(frame(BINARY, DATA[:HALF]))
            assert (await client.receive())["ready"] is True
            lose_rows(wire)
            await client.stream.aclose()
            await wire.all_ended()
    assert (store.contents, store.spool, store.open_sinks) == ({}, {}, 0)
    (failed,) = of_event(logs, "upload.failed")
    assert failed["code"] == "disconnected"


@pytest.mark.parametrize("config", [STREAMED, RESERVED, RESUMED])
async def test_a_file_whose_reservation_is_lost_while_it_is_published_is_recorded(
    autojump_clock: MockClock, config: Config
) -> None:
    length = HALF if config is STREAMED else len(DATA)

    async def lose() -> None:
        await trio.lowlevel.checkpoint()
        lose_rows(wire)

    config = evolve(config, hooks=Hooks(stored=("notify",)))
    store = LosingStore(lose)
    async with serving(store, config) as wire:
        client = await send(wire, length)
        await client.send(text_frame({"finished": True}))
        assert (await client.receive())["close"] is True
        entry = (await wire.ledger.entries(["a"]))["a"]
        assert (entry.size, entry.sha1, entry.place) == (len(DATA), SHA1, "a")
        assert entry.stored is not None
        assert [one.name for one in await wire.ledger.outbox.first(10)] == ["a"]
        assert await wire.ledger.total() == Holding(bytes=len(DATA), files=1)
        again = await wire.open_raw()  # the client has not heard of it
        await again.send(text_frame(METADATA))
        assert (await again.receive())["close"] is True
    assert store.contents == {"a": DATA}
