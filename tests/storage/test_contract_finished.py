"""The contract of a store, for what comes of finished files: their times, looking, removing."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from helpers.store_kinds import KINDS, MakeStore, open_whole, put, visible

from galileod.policy.publication import OnConflict
from galileod.storage.base import Store
from galileod.storage.finished import Removed, Standing

pytestmark = pytest.mark.timeout(20)

THEN = 1_234_567_890_123_000_000


@pytest.fixture(params=["sink", "whole"])
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=KINDS)
def make_store(request: pytest.FixtureRequest, tmp_path: Path, way: str) -> Iterator[MakeStore]:
    kind = KINDS[request.param]
    with ExitStack() as stores:

        def make(on_conflict: OnConflict) -> Store:
            directory = tmp_path / "files"
            store = (
                kind.open(directory, on_conflict)
                if way == "sink"
                else open_whole(kind, directory, on_conflict)
            )
            stores.callback(store.close)
            return store

        yield make


async def modified(store: Store, name: str) -> int:
    (standing,) = await store.look([name])
    assert isinstance(standing, Standing)
    return standing.modified_ns


@pytest.mark.parametrize("prepared", [True, False])
async def test_a_file_gets_the_time_that_is_stated(store: Store, prepared: bool) -> None:
    async with await store.create("1", "june/a.bin") as sink:
        await sink.write([b"content"])
        sink.modified = THEN
        if prepared:
            await sink.prepare()
        await sink.commit()
    (standing,) = await store.look(["june/a.bin"])
    assert isinstance(standing, Standing)
    assert (standing.size, standing.modified_ns) == (7, THEN)
    assert standing.upload in ("1", None), "if the store knows it"


async def test_a_file_of_which_no_time_is_stated_has_that_of_its_storing(store: Store) -> None:
    before = time.time_ns() - 10**9  # the clock of a filesystem may be some milliseconds behind
    await put(store, "a.bin", b"content")
    assert before < await modified(store, "a.bin") <= time.time_ns() + 10**9, "or it rounds up"


@pytest.mark.parametrize("on_conflict", ["rename", "replace"])
async def test_files_with_the_same_time_are_each_found_by_their_identity(
    make_store: MakeStore, on_conflict: OnConflict
) -> None:
    store, identities = make_store(on_conflict), dict[str, str]()
    for name in ("a", "june/a", "b"):
        async with await store.create(name.replace("/", ""), name) as sink:
            await sink.write([b"content"])
            sink.modified = THEN
            await sink.prepare()
            sink_identity = sink.identity
            identities[sink_identity] = name
            assert (await sink.commit()).identity == sink_identity
    assert store.scan(identities).names == identities
    for now, own in zip(await store.look(list(identities.values())), identities, strict=True):
        assert isinstance(now, Standing)
        assert set(now.identities) & set(identities) == {own}


async def test_a_file_that_was_replaced_has_another_identity(make_store: MakeStore) -> None:
    store, identities = make_store("replace"), list[str]()
    for upload in ("1", "2"):
        async with await store.create(upload, "a") as sink:
            await sink.write([b"content"])
            identities.append((await sink.commit()).identity)
    (now,) = await store.look(["a"])
    assert isinstance(now, Standing)
    assert set(now.identities) & set(identities) == {identities[1]}


async def test_what_no_file_is_called_is_not_found(store: Store) -> None:
    await put(store, "june/a.bin", b"content")
    names = ["a.bin", "june/a.bin", "june", "june/a.bin/b", "july/a.bin", "", "/", "june/"]
    found = await store.look(names)
    assert [one.size if isinstance(one, Standing) else one for one in found] == [
        None,
        7,
        *[None] * 6,
    ]
    assert await store.look([]) == []


async def test_a_removed_file_is_not_there_and_may_be_removed_again(store: Store) -> None:
    for name in ("a", "june/a", "june/b"):
        await put(store, name, name.encode())
    assert await store.remove(["june/b", "none", "a"]) == [
        Removed("june/b", found=True), Removed("none", found=False), Removed("a", found=True)
    ]  # fmt: skip
    assert visible(store) == {"june/a": b"june/a"}
    assert await store.remove(["a"]) == [Removed("a", found=False)]
    assert await store.remove([]) == []


async def test_a_file_may_be_stored_where_one_was_removed_with_its_folder(store: Store) -> None:
    for _ in range(2):
        assert await put(store, "june/first/a", b"content") == "june/first/a"
        folders = ["june", "june/first"]
        assert await store.remove(["june/first/a"], folders) == [
            Removed("june/first/a", found=True)
        ]
        assert visible(store) == {}
