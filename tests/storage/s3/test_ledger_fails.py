"""What is told of a ledger that fails: clients hear the reason, and not where the ledger is."""

import pytest
from helpers.clients import some_bytes
from helpers.s3_store import PART, LedgerStore
from helpers.store_kinds import MakeStore

from galileod.ledger.base import LedgerError
from galileod.storage.base import Sink
from galileod.storage.errors import StorageError

pytestmark = pytest.mark.timeout(60)

REASON = "the database cannot be reached"
PLACE = ": connection to db.example.org failed"
DATA = some_bytes(2 * PART)


@pytest.fixture
def store(make_store: MakeStore) -> LedgerStore:
    made = make_store("rename")
    assert isinstance(made, LedgerStore)
    return made


async def fail(*_: object) -> None:
    raise LedgerError(REASON, PLACE)


async def store_all(sink: Sink) -> None:
    await sink.write([DATA])
    await sink.commit()


@pytest.mark.parametrize("step", ["created", "add_part", "completing"])
async def test_the_place_of_the_ledger_is_not_in_the_reason_of_an_upload_that_fails(
    store: LedgerStore, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    async with await store.create("1", "a.bin", size=len(DATA)) as sink:
        monkeypatch.setattr(store.shared.objects, step, fail)
        with pytest.raises(StorageError) as raised:
            await store_all(sink)
    assert (raised.value.reason.endswith(REASON), raised.value.place) == (True, PLACE)


async def test_the_place_of_the_ledger_is_not_in_the_reason_of_an_upload_that_is_not_kept(
    store: LedgerStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await store.create("1", "a.bin", size=len(DATA)) as sink:
        await sink.write([DATA[:1000]])
        monkeypatch.setattr(store.shared.objects, "set_tail", fail)
        with pytest.raises(StorageError) as raised:
            await sink.suspend()
    assert (raised.value.reason.endswith(REASON), raised.value.place) == (True, PLACE)
