"""Hashes that clients send."""

import hashlib

import pytest
from helpers.memory_store import MemoryStore
from helpers.uploading import (
    DATA,
    the_end,
)
from helpers.wire import (
    serving,
    with_chunks,
)
from structlog.testing import capture_logs
from trio.testing import MockClock

pytestmark = pytest.mark.timeout(20)


@pytest.mark.parametrize("kind", ["sha1", "SHA256", "sha512", "Blake2b"])
@pytest.mark.parametrize("size", [0, len(DATA)])
async def test_a_hash_in_either_case_is_verified(
    autojump_clock: MockClock, kind: str, size: int
) -> None:
    store = MemoryStore()
    with capture_logs() as logs:
        async with serving(store, with_chunks(100, 3)) as wire:
            client = await wire.open()
            value = hashlib.new(kind.lower(), DATA[:size]).hexdigest().upper()
            signal = {"hash": {"type": kind, "value": value}}
            assert await client.upload("a.bin", DATA[:size], signal) == {"close": True}
    assert store.contents == {"a.bin": DATA[:size]}
    assert the_end(logs)["hash_verified"] is True
    assert the_end(logs)["sha1"] == hashlib.sha1(DATA[:size], usedforsecurity=False).hexdigest()
