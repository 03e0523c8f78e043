"""Whether files can be stored: what is said of a store that hangs, is full, or refuses."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from attrs import evolve
from helpers.daemon import POLL
from helpers.engines.buckets import Bucket
from helpers.engines.troubles import Troubles, says
from helpers.s3_store import LedgerStore, open_s3
from storage.s3.conftest import OpenClient

from galileod.storage.errors import NoSpaceError, StorageBusyError, StorageError
from galileod.storage.s3 import checking

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def store(
    bucket: Bucket, troubles: Troubles, open_client: OpenClient, tmp_path: Path
) -> Iterator[LedgerStore]:
    client = open_client(evolve(bucket, server=troubles.server))
    store = open_s3(bucket, client, "files/", tmp_path / "ledger")
    yield store
    store.close()


async def until_good(store: LedgerStore) -> None:
    while True:
        try:
            await store.check()
        except StorageError:
            await trio.sleep(POLL)
        else:
            return


async def test_who_asks_again_is_answered_although_a_check_hangs(
    store: LedgerStore, troubles: Troubles, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.check()
    monkeypatch.setattr(checking, "ANSWER_SECONDS", 0.1)
    # Nothing is waited for any more.
    monkeypatch.setattr(checking, "FAILED_SECONDS", 0)
    held = troubles.hang("HeadBucket")
    for _ in range(20):
        with pytest.raises(StorageError, match=r"does not answer in time \(HeadBucket, bucket "):
            await store.check()
    assert troubles.seen["HeadBucket"] == 2, "one check at a time"
    held.release()
    troubles.always(None, "HeadBucket")
    await until_good(store)
    monkeypatch.setattr(checking, "ANSWER_SECONDS", 10)
    await store.check()


async def test_those_who_ask_at_once_share_a_check(store: LedgerStore, troubles: Troubles) -> None:
    held = troubles.hold("HeadBucket")
    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(store.check)
        await trio.to_thread.run_sync(held.wait)
        held.release()
    assert troubles.seen["HeadBucket"] == 1


@pytest.mark.usefixtures("no_pauses")
def test_a_store_that_refuses_data_is_told_of_until_it_takes_some(
    store: LedgerStore, troubles: Troubles, bucket: Bucket
) -> None:
    client = store.shared.client

    async def check() -> None:
        await store.check()

    trio.run(check)
    for status, code, kind in (
        (403, "QuotaExceeded", NoSpaceError),
        (403, "AccessDenied", StorageError),
        (503, "SlowDown", StorageBusyError),
    ):
        troubles.always(says(status, code), "PutObject")
        with pytest.raises(kind):
            client.put("files/a", b"data", {}, new=True)
        for _ in range(2):
            with pytest.raises(kind, match="PutObject"):
                trio.run(check)
        troubles.always(None, "PutObject")
        trio.run(check)
        seen = troubles.seen["PutObject"]
        trio.run(check)
        assert troubles.seen["PutObject"] == seen, "nothing is stored without need"
    assert bucket.contents() == {}
