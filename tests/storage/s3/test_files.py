"""What is done to files after their upload, with a bucket: rescan, removal, checks of a quota."""

from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Final

import pytest
from attrs import define, evolve
from helpers.engines.buckets import Bucket
from helpers.ledgers import allow
from helpers.s3_store import PART, LedgerStore, open_s3
from structlog.testing import capture_logs

from galileod.files.check import Checker, Differences, Rescanned
from galileod.files.publication import lock_for
from galileod.files.quota_check import QuotaCheck
from galileod.files.removal import Outcome, Remover
from galileod.files.rescan import Rescanner
from galileod.ledger.records import FileEntry, Selection
from galileod.metrics import Metrics
from galileod.storage.errors import StorageError
from galileod.storage.finished import Removed
from galileod.storage.s3.client import Client

pytestmark = pytest.mark.timeout(60)

PREFIX: Final = "ours/"


@define(slots=False)
class Files:
    """Stored files, and all that works on them."""

    store: LedgerStore
    uploads: int = 0

    def __attrs_post_init__(self) -> None:
        self.ledger = self.store.ledger
        self.ledger.reconcile(None, {})
        publication = lock_for(self.store)
        self.checker = Checker(self.store, self.ledger, publication)
        self.quota_check = QuotaCheck(self.ledger, self.checker)
        self.remover = Remover(self.store, self.ledger, publication, Metrics(), lambda *_: None)
        self.rescanner = Rescanner(self.store, self.ledger, self.checker)

    async def upload(self, name: str, size: int = 10) -> None:
        self.uploads += 1
        upload = f"u{self.uploads}"
        await self.ledger.reserve(upload, "anna", size, allow)
        async with await self.store.create(upload, name, size=size) as sink:
            await sink.make_ready()
            await sink.write([bytes(size)])
            stored = await sink.commit()
            await self.ledger.commit(upload, stored.name)

    async def rescan(self) -> Rescanned:
        *_, last = [done async for done in self.rescanner.rescan()]
        return evolve(last, seconds=0)

    def put(self, key: str, size: int) -> None:
        """Put an object there by hand."""
        bucket = self.store.bucket
        bucket.raw.put_object(Bucket=bucket.name, Key=key, Body=bytes(size))

    def delete(self, *keys: str) -> None:
        bucket = self.store.bucket
        for key in keys:
            bucket.raw.delete_object(Bucket=bucket.name, Key=key)

    def delete_bucket(self) -> None:
        """Empty it first."""
        bucket = self.store.bucket
        self.delete(*bucket.contents())
        bucket.raw.delete_bucket(Bucket=bucket.name)

    def entries(self) -> list[FileEntry]:
        return list(self.ledger.files(Selection()))

    def records(self) -> dict[str, tuple[str, int]]:
        return {each.name: (each.user, each.size) for each in self.entries()}


@pytest.fixture
def files(bucket: Bucket, client: Client, tmp_path: Path) -> Iterator[Files]:
    store = open_s3(bucket, client, PREFIX, tmp_path / "ledger")
    yield Files(store)
    store.close()


@pytest.fixture
def any_files(any_bucket: Bucket, any_client: Client, tmp_path: Path) -> Iterator[Files]:
    """With each engine in turn."""
    store = open_s3(any_bucket, any_client, PREFIX, tmp_path / "ledger")
    yield Files(store)
    store.close()


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("galileod.files.rescan.LISTED", 2)
    monkeypatch.setattr("galileod.files.comparison.LISTED", 2)


async def pages(
    walk: AsyncGenerator[Mapping[str, int | None], None],
) -> list[dict[str, int | None]]:
    async with aclosing(walk):
        return [dict(page) async for page in walk]


# Listing.


async def test_files_are_listed_in_order_and_in_pages(any_files: Files) -> None:
    names = ["a", "a b", "b/c", "b0", "é", "日本", "\U0001f600"]
    for size, name in enumerate(names):
        any_files.put(f"ours/{name}", size)
    any_files.put("our", 1)
    any_files.put("theirs/a", 1)
    listed = await pages(any_files.store.walk(3))
    assert [(name, size) for page in listed for name, size in page.items()] == [
        (name, size) for size, name in enumerate(names)
    ]
    assert [len(page) for page in listed] == [3, 3, 1]


async def test_what_is_beside_the_files_is_not_listed(any_files: Files) -> None:
    for key in (".galileod/check/1", *(f".galileod/tails/{n}" for n in range(5)), "folder/"):
        any_files.put(f"ours/{key}", 1)
    for key in ("-", ".galileod.txt", ".galileod0", ".hidden", "folder/a"):
        any_files.put(f"ours/{key}", 1)
    listed = await pages(any_files.store.walk(1))
    assert [name for page in listed for name in page] == [
        "-", ".galileod.txt", ".galileod0", ".hidden", "folder/a",
    ]  # fmt: skip


# Rescan.


@pytest.mark.usefixtures("small_pages")
async def test_records_become_what_is_in_the_bucket(any_files: Files) -> None:
    for name in ("a", "b", "june/c", "june/d", "e"):
        await any_files.upload(name)
    await any_files.upload("large", PART + 1)
    same = {each.name: each for each in any_files.entries()}
    any_files.delete("ours/a", "ours/june/c")
    any_files.put("ours/b", 25)
    any_files.put("ours/new/by hand", 5)
    any_files.put("ours/.galileod/tails/x", 5)
    any_files.put("theirs", 5)
    assert await any_files.rescan() == Rescanned(6, 5, Differences(2, 1, 1), ended=True)
    assert any_files.records() == {
        "b": ("anna", 25), "e": ("anna", 10), "june/d": ("anna", 10), "large": ("anna", PART + 1),
        "new/by hand": ("", 5),
    }  # fmt: skip
    after = {each.name: each for each in any_files.entries()}
    assert all(after[name] == same[name] for name in ("e", "june/d", "large"))
    assert not (await any_files.rescan()).differences
    assert len(any_files.store.bucket.contents()) == 7, "nothing is removed"


@pytest.mark.usefixtures("small_pages")
async def test_records_stay_in_whatever_order_files_are_listed(any_files: Files) -> None:
    """SeaweedFS has `a/b` before `a-b`."""
    names = ["a b", "a-b", "a.b", "a/b", "a/c/d", "a/c-d", "a0", "ab"]
    for name in names:
        await any_files.upload(name)
    before = any_files.entries()
    any_files.put("ours/a-c", 1)
    any_files.put("ours/a/a", 1)
    assert await any_files.rescan() == Rescanned(8, 10, Differences(unknown=2), ended=True)
    assert [each for each in any_files.entries() if each.user] == before
    any_files.delete("ours/a-b", "ours/a/c/d")
    assert (await any_files.rescan()).differences == Differences(gone=2)


async def test_a_rescan_asks_for_pages_and_for_what_differs(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        await files.upload(f"{number:02}")
    files.delete("ours/03")
    files.put("ours/by hand", 1)
    asked = list[str]()
    for name in ("list", "head"):
        method = getattr(files.store.shared.client, name)

        def count(*args: object, name: str = name, method: object = method) -> object:
            asked.append(name)
            assert callable(method)
            return method(*args)

        monkeypatch.setattr(files.store.shared.client, name, count)
    assert (await files.rescan()).differences == Differences(gone=1, unknown=1)
    assert sorted(asked) == ["head"] * 3 + ["list"] * 2, "twice for what is dropped"


async def test_a_file_whose_upload_has_not_ended_is_not_reported(files: Files) -> None:
    await files.ledger.reserve("u", "anna", PART + 1, allow)
    async with await files.store.create("u", "a", size=PART + 1) as sink:
        await sink.make_ready()
        await sink.write([bytes(PART + 1)])
        stored = await sink.commit()
        assert files.store.bucket.contents().keys() == {"ours/a"}
        assert not (await files.rescan()).differences
        assert files.records() == {}
        await files.ledger.commit("u", stored.name)
    assert not (await files.rescan()).differences
    assert files.records() == {"a": ("anna", PART + 1)}


# A bucket that goes away.


async def test_a_bucket_that_is_gone_drops_no_record(any_files: Files) -> None:
    for name in ("a", "b"):
        await any_files.upload(name)
    before = any_files.entries()
    any_files.delete_bucket()
    with pytest.raises(StorageError, match="the bucket does not exist"):
        await any_files.rescan()
    with capture_logs() as logs:
        assert not await any_files.checker.check(before)
    assert [(line["event"], line["files"]) for line in logs] == [("ledger.behind", 2)]
    assert not await any_files.quota_check.ask("anna")
    outcomes = [
        *await any_files.remover.remove_recorded(before, "expired"),
        *await any_files.remover.remove_named(["a", "b"]),
        *await any_files.remover.look(before),
    ]
    assert [(one.name, one.result) for one in outcomes] == [("a", "failed"), ("b", "failed")] * 3
    assert any_files.entries() == before


# Removal.


async def test_files_are_removed_with_their_records(any_files: Files) -> None:
    for name in ("a", "b", "c", "d"):
        await any_files.upload(name)
    any_files.delete("ours/b")
    any_files.put("ours/c", 25)
    outcomes = await any_files.remover.remove_recorded(any_files.entries(), "expired")
    assert {one.name: one.result for one in outcomes} == {
        "a": "removed", "b": "gone", "c": "changed", "d": "removed",
    }  # fmt: skip
    assert any_files.records() == {"c": ("", 25)}
    assert any_files.store.bucket.contents().keys() == {"ours/c"}
    (outcome,) = await any_files.remover.remove_named(["c"])
    assert outcome == Outcome("c", "removed", "", 25)
    assert await any_files.store.remove(["c"]) == [Removed("c", found=False)]


async def test_a_quota_check_drops_what_is_gone(any_files: Files) -> None:
    for name in ("a", "b"):
        await any_files.upload(name)
    assert not await any_files.quota_check.ask("anna")
    any_files.delete("ours/a")
    assert await any_files.quota_check.ask("anna")
    assert set(any_files.records()) == {"b"}
