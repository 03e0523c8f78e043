"""What an upload holds of quota, disk and ledger."""

from pathlib import Path

import pytest
import trio
from helpers.memory_store import MemorySink, MemoryStore
from helpers.uploading import (
    begin,
)
from helpers.wire import STREAMED, serving
from trio.testing import MockClock

from galileod.config.model import Config
from galileod.ledger.base import LedgerError
from galileod.policy.publication import Durability, OnConflict
from galileod.policy.settings import Quota
from galileod.storage.local import LocalStore
from galileod.storage.settings import Storage
from galileod.units import Size


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

    async def free(self) -> int | None:
        await trio.lowlevel.checkpoint()
        return 1000

    async def create(
        self,
        upload: str,
        path: str,
        on_conflict: OnConflict | None = None,
        durability: Durability | None = None,
        size: int | None = None,
    ) -> MemorySink:
        self.created += 1
        return await super().create(upload, path, on_conflict, durability, size)


async def test_declared_sizes_of_running_uploads_count_against_the_free_disk(
    autojump_clock: MockClock,
) -> None:
    store = SmallStore()
    async with serving(store, STREAMED) as wire:
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
    async with serving(MemoryStore(), STREAMED) as wire:
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
            assert {"same": holding.bytes} == store.scan().sizes
    store.close()
