"""What a connection makes of a kept upload that changes while it is found."""

from typing import Any

import pytest
from helpers.memory_store import MemoryStore
from helpers.uploading import DATA
from helpers.wire import WireClient, serving
from trio.testing import MockClock

from galileod.config.model import Config
from galileod.ledger.base import Ledger, LedgerError
from galileod.ledger.sqlite import SqliteLedger
from galileod.policy.settings import Resume
from galileod.units import Size

pytestmark = pytest.mark.timeout(20)

CONFIG = Config(resume=Resume(min_size=Size(1)))
KEY = "0123456789abcdef" * 2
HALF = len(DATA) // 2


async def introduce(client: WireClient) -> dict[str, Any]:
    """Send the metadata; returns the first signal."""
    await client.send({"name": "a", "size": len(DATA), "can": ["resume"], "upload": KEY})
    return await client.receive()


async def finish(client: WireClient, data: bytes) -> dict[str, Any]:
    """Send `data` and `finished`; returns the last signal."""
    await client.send_bytes(data)
    await client.send({"finished": True})
    while (signal := await client.receive()).get("ready"):
        pass
    return signal


async def test_an_upload_that_is_discarded_while_it_is_found_begins_anew(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MemoryStore()
    async with serving(store, CONFIG) as wire:
        client = await wire.open()
        await introduce(client)
        await client.send_bytes(DATA[:HALF])
        await client.close()
        await wire.all_ended()

        resume, ledger = SqliteLedger.resume, wire.context.ledger

        async def evicted_first(self: SqliteLedger, *args: Any) -> None:  # noqa: ANN401
            assert await ledger.give_way(None, authenticated=False)
            await resume(self, *args)

        monkeypatch.setattr(SqliteLedger, "resume", evicted_first)
        client = await wire.open()
        assert (await introduce(client))["offset"] == 0
        assert await finish(client, DATA) == {"close": True, "path": "a"}
    assert store.contents == {"a": DATA}


async def test_a_lost_close_doubles_nothing_if_the_ledger_had_failed_as_well(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise LedgerError("disk I/O error")

    store = MemoryStore()
    async with serving(store, CONFIG) as wire:
        client = await wire.open()
        await introduce(client)
        with monkeypatch.context() as patch:
            patch.setattr(SqliteLedger, "commit", broken)
            assert await finish(client, DATA) == {"close": True, "path": "a"}
            await client.close()
            await wire.all_ended()
        ledger: Ledger = wire.context.ledger
        client = await wire.open()
        assert await introduce(client) == {"close": True, "path": "a", "can": ["resume"]}
        (holding,) = ledger.holdings().values()
        assert (holding.files, holding.uploads) == (1, 0)
    assert store.contents == {"a": DATA}


async def test_what_the_ledger_has_recorded_although_it_failed_refuses_no_upload(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep = SqliteLedger.keep

    async def broken_afterwards(self: SqliteLedger, *args: Any) -> None:  # noqa: ANN401
        await keep(self, *args)
        raise LedgerError("disk I/O error")

    store = MemoryStore()
    async with serving(store, CONFIG) as wire:
        with monkeypatch.context() as patch:
            patch.setattr(SqliteLedger, "keep", broken_afterwards)
            client = await wire.open()
            await introduce(client)
            await client.send_bytes(DATA[:HALF])
            await client.close()
            await wire.all_ended()
        client = await wire.open()
        assert (await introduce(client))["offset"] == HALF
        assert await finish(client, DATA[HALF:]) == {"close": True, "path": "a"}
    assert store.contents == {"a": DATA}
