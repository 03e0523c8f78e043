"""What no upload knows is removed from a bucket, and nothing else."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import trio
from helpers.clocks import FakeClock
from helpers.engines.buckets import Bucket
from helpers.ledgers import allow, keep
from helpers.s3_store import PART, LedgerStore, open_s3, tail_keys
from structlog.testing import capture_logs

from galileod.ledger.objects import ObjectUpload
from galileod.storage.errors import StorageError
from galileod.storage.s3 import sweep
from galileod.storage.s3.client import Client
from galileod.storage.s3.sweep import LEAST_AGE, Sweeper

pytestmark = pytest.mark.timeout(60)

DAY: Final = 86_400.0
PREFIX: Final = "ours/"
MARGIN: Final = 10
"""Seconds for a test, and for engines that round."""


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "PAUSE", 0)


@pytest.fixture
def store(bucket: Bucket, client: Client, tmp_path: Path) -> Iterator[LedgerStore]:
    store = open_s3(bucket, client, PREFIX, tmp_path / "ledger")
    yield store
    store.close()


async def run_sweep(store: LedgerStore, age: float = LEAST_AGE + MARGIN, kept: float = 0) -> Any:  # noqa: ANN401  fields of a log line
    """Sweep when all that the bucket has is of that age; returns the line of the log."""
    clock = FakeClock(await trio.to_thread.run_sync(newest, store) + age)
    with capture_logs() as logs:
        await Sweeper(store.shared, lambda: kept, clock).sweep()
    return logs[0] if logs else None


def newest(store: LedgerStore) -> float:
    """The time of the engine: all that is there is not newer."""
    store.shared.client.put("now", b"", {}, new=False)
    head = store.shared.client.head("now")
    assert head is not None
    return head.modified_ns / 1e9


def begun(store: LedgerStore, *names: str) -> dict[str, str]:
    """Multipart uploads that nobody knows: their ids by their keys."""
    client = store.shared.client
    return {name: client.create(name, {}) for name in names}


def unfinished(store: LedgerStore) -> set[str]:
    return {multipart for _, multipart, _ in store.shared.client.unfinished("")}


async def interrupted(store: LedgerStore, upload: str) -> ObjectUpload:
    """An upload with a part and a tail."""
    await store.ledger.reserve(upload, "anna", 2 * PART, allow)
    async with await store.create(upload, upload, size=2 * PART) as sink:
        await sink.make_ready()
        await sink.write([bytes(PART), b"tail"])
        assert await sink.suspend() == PART + 4
    known = await store.ledger.objects.get(upload)
    assert known is not None
    assert known.multipart is not None
    assert known.tail is not None
    return known


async def test_multipart_uploads_that_no_upload_knows_are_aborted(store: LedgerStore) -> None:
    known = await interrupted(store, "known")
    orphans = begun(store, "ours/a", "ours/june/b")
    foreign = begun(store, "theirs/a", "our")
    line = await run_sweep(store)
    assert (line["event"], line["uploads"], line["objects"]) == ("storage.swept", 2, 0)
    assert not unfinished(store) & set(orphans.values())
    assert unfinished(store) == {known.multipart, *foreign.values()}
    assert await run_sweep(store) is None


async def test_tails_that_no_upload_knows_are_removed(store: LedgerStore) -> None:
    known = await interrupted(store, "known")
    client = store.shared.client
    for key in ("ours/.galileod/tails/x-5", "ours/.galileod/check/y", "ours/file", "ours/.gal"):
        client.put(key, b"12345", {}, new=True)
    line = await run_sweep(store)
    assert (line["uploads"], line["objects"], line["entries"]) == (0, 2, 0)
    assert known.tail is not None
    assert tail_keys(store) == [known.tail.key]
    assert client.head("ours/file")
    assert client.head("ours/.gal")


@pytest.mark.parametrize(
    ("age", "kept", "removed"),
    [
        (LEAST_AGE - MARGIN, 0, False),
        (LEAST_AGE + MARGIN, 0, True),
        (DAY - MARGIN, DAY, False),
        (DAY + MARGIN, DAY, True),
    ],
)
async def test_what_may_belong_to_an_upload_yet_stays(
    store: LedgerStore, age: float, kept: float, removed: bool
) -> None:
    begun(store, "ours/a")
    store.shared.client.put("ours/.galileod/tails/a-1", b"1", {}, new=True)
    line = await run_sweep(store, age, kept)
    assert (line is not None) is removed
    assert (len(unfinished(store)), len(tail_keys(store))) == ((0, 0) if removed else (1, 1))


async def test_many_are_swept_in_pages(store: LedgerStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "PAGE", 2)
    begun(store, *(f"ours/{number}" for number in range(5)))
    known = await interrupted(store, "3")
    for number in range(5):
        store.shared.client.put(f"ours/.galileod/tails/{number}", b"1", {}, new=True)
    for number in range(5):
        await store.ledger.objects.begin(f"left-{number}", 1, 1)
    line = await run_sweep(store)
    assert (line["uploads"], line["objects"], line["entries"]) == (5, 5, 5)
    assert unfinished(store) == {known.multipart}
    assert len(tail_keys(store)) == 1


async def test_an_upload_that_nobody_continues_is_forgotten_with_all_that_it_has(
    store: LedgerStore,
) -> None:
    await interrupted(store, "left")
    await interrupted(store, "running")
    await keep(store.ledger, "kept", size=10)
    await store.ledger.objects.begin("kept", 10, PART)
    await store.ledger.release("left")
    line = await run_sweep(store, age=0)
    assert (line["uploads"], line["objects"], line["entries"]) == (0, 0, 1)
    assert [one.upload for one in store.ledger.objects.all()] == ["kept", "running"]
    assert len(unfinished(store)) == 1
    assert len(tail_keys(store)) == 1


async def test_an_upload_goes_on_after_a_sweep(store: LedgerStore) -> None:
    await interrupted(store, "u")
    await run_sweep(store, age=DAY)
    async with await store.reopen("u", "u", "rename", "full") as sink:
        await sink.make_ready()
        await sink.write([bytes(PART - 4)])
        assert (await sink.commit()).name == "u"
    assert store.bucket.read("ours/u") == bytes(PART) + b"tail" + bytes(PART - 4)


async def test_a_failure_is_logged_once_and_tried_again(store: LedgerStore) -> None:
    sweeper = Sweeper(store.shared, lambda: 0, lambda: 4e9)
    bucket, raw = store.bucket.name, store.bucket.raw

    async def events() -> list[str]:
        with capture_logs() as logs:
            await sweeper.sweep()
        return [line["event"] for line in logs]

    for _ in range(2):
        raw.delete_bucket(Bucket=bucket)
        with capture_logs() as logs:
            await sweeper.sweep()
        assert [line["event"] for line in logs] == ["storage.not_swept"]
        assert logs[0]["reason"].startswith("the bucket does not exist (")
        assert await events() == []
        raw.create_bucket(Bucket=bucket)
        assert await events() == []
    begun(store, "ours/a")
    assert await events() == ["storage.swept"]


async def test_what_cannot_be_removed_does_not_keep_the_rest(store: LedgerStore) -> None:
    orphans = begun(store, *(f"ours/{name}" for name in "abc"))
    refused = f"arn:aws:s3:::{store.bucket.name}/ours/b"
    statement = {
        "Effect": "Deny", "Principal": "*", "Action": "s3:AbortMultipartUpload",
        "Resource": refused,
    }  # fmt: skip
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    store.bucket.raw.put_bucket_policy(Bucket=store.bucket.name, Policy=policy)
    with capture_logs() as logs:
        await Sweeper(store.shared, lambda: 0, lambda: 4e9).sweep()
    assert [line["event"] for line in logs] == ["storage.swept", "storage.not_swept"]
    assert "s3:AbortMultipartUpload" in logs[1]["reason"]
    assert unfinished(store) == {orphans["ours/b"]}


async def test_a_sweep_ends_after_a_few_failures(
    store: LedgerStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "MOST_FAILURES", 2)
    begun(store, *(f"ours/{name}" for name in "abc"))
    tried = list[str]()

    def abort(key: str, _multipart: str) -> None:
        tried.append(key)
        raise StorageError("refused")

    monkeypatch.setattr(store.shared.client, "abort", abort)
    with capture_logs() as logs:
        await Sweeper(store.shared, lambda: 0, lambda: 4e9).sweep()
    assert [(line["event"], line["reason"]) for line in logs] == [("storage.not_swept", "refused")]
    assert tried == ["ours/a", "ours/b"]
