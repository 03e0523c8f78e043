"""The contract of a store: each implementation passes these tests.

A further one needs a `Kind` in helpers.store_kinds. Each runs for files that are stored by a sink,
and for those that are stored in one step.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import trio
from helpers.store_kinds import (
    DATA,
    KINDS,
    MakeStore,
    begun,
    listed,
    open_whole,
    put,
    unfinished,
    visible,
)

from galileod.policy.publication import OnConflict
from galileod.storage.base import Store
from galileod.storage.errors import ConflictError
from galileod.storage.settings import Storage

pytestmark = pytest.mark.timeout(20)


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


@pytest.mark.parametrize(
    "writes",
    [
        [],
        [[]],
        [[b""]],
        [[DATA]],
        [[b"a"], [b""], [DATA], [b"z"]],
        [[b"a", b"", DATA, b"z"]],
        [[b"", b""], [b"", b"a", b""], [DATA, b"z"], []],
    ],
)
async def test_the_bytes_written_are_the_file_after_commit(
    store: Store, writes: list[list[bytes]]
) -> None:
    async with await store.create("1", "a.bin") as sink:
        for pieces in writes:
            await sink.write(pieces)
        stored = await sink.commit()
    assert stored.name == "a.bin"
    assert stored.path.endswith("a.bin")
    assert visible(store) == {"a.bin": b"".join(b"".join(pieces) for pieces in writes)}
    assert unfinished(store) == 0


@pytest.mark.parametrize("count", [1023, 1024, 1025, 2048, 5000])
@pytest.mark.parametrize("empty", ["none", "every other", "the first 2000"])
async def test_a_write_may_have_any_number_of_pieces(store: Store, count: int, empty: str) -> None:
    pieces = [DATA[at * 50 : at * 50 + 1 + at % 50] for at in range(count)]
    if empty == "every other":
        pieces[::2] = [b""] * len(pieces[::2])
    elif empty == "the first 2000":
        pieces[:0] = [b""] * 2000
    content = b"".join(pieces)
    given = list(pieces)
    async with await store.create("1", "a.bin") as sink:
        await sink.write(given)
        assert await sink.digest("sha1") == hashlib.sha1(content, usedforsecurity=False).hexdigest()
        assert await sink.digest("sha256") == hashlib.sha256(content).hexdigest()
        await sink.commit()
    assert visible(store) == {"a.bin": content}
    assert given == pieces, "the caller's list is the caller's"


async def test_nothing_is_visible_before_commit(store: Store) -> None:
    async with await store.create("1", "a.bin") as sink:
        assert visible(store) == {}
        await sink.write([DATA])
        await sink.digest("sha256")
        assert visible(store) == {}
        assert unfinished(store) == begun(store)


@pytest.mark.parametrize("on_conflict", ["rename", "replace"])
async def test_a_file_that_was_prepared_is_not_visible_and_may_be_discarded(
    make_store: MakeStore, on_conflict: OnConflict
) -> None:
    store = make_store(on_conflict)
    for end in ("discard", "commit"):
        async with await store.create("1", "anna/a.bin") as sink:
            await sink.write([DATA])
            await sink.prepare()
            identity = sink.identity
            assert await sink.digest("sha256") == hashlib.sha256(DATA).hexdigest()
            assert (visible(store), unfinished(store)) == ({}, begun(store))
            if end == "commit":
                await sink.commit()
                assert store.scan([identity]).names == {identity: "anna/a.bin"}
        assert unfinished(store) == 0
    assert visible(store) == {"anna/a.bin": DATA}


async def test_discard_leaves_nothing_and_may_be_repeated(store: Store) -> None:
    sink = await store.create("1", "a.bin")
    await sink.write([DATA])
    await sink.discard()
    assert visible(store) == {}
    assert unfinished(store) == 0
    await sink.discard()
    assert unfinished(store) == 0


async def test_discard_after_commit_keeps_the_file(store: Store) -> None:
    sink = await store.create("1", "a.bin")
    await sink.write([DATA])
    await sink.commit()
    await sink.discard()
    assert visible(store) == {"a.bin": DATA}
    assert unfinished(store) == 0


async def test_an_exception_in_the_block_discards(store: Store) -> None:
    async def fail() -> None:
        async with await store.create("1", "a.bin") as sink:
            await sink.write([DATA])
            raise KeyError("odd")

    with pytest.raises(KeyError, match="odd"):
        await fail()
    assert visible(store) == {}
    assert unfinished(store) == 0


async def test_discard_works_in_a_cancelled_scope(store: Store) -> None:
    with trio.CancelScope() as scope:
        async with await store.create("1", "a.bin") as sink:
            await sink.write([DATA])
            scope.cancel()
    assert visible(store) == {}
    assert unfinished(store) == 0


async def test_renaming_counts_up_before_the_extension(make_store: MakeStore) -> None:
    store = make_store("rename")
    names = [await put(store, "a.tar.gz", bytes([turn])) for turn in range(3)]
    assert names == ["a.tar.gz", "a (1).tar.gz", "a (2).tar.gz"]
    assert visible(store) == {name: bytes([turn]) for turn, name in enumerate(names)}


async def test_rejecting_refuses_a_taken_name_before_any_byte(make_store: MakeStore) -> None:
    store = make_store("reject")
    await put(store, "a.bin", b"first")
    with pytest.raises(ConflictError, match=r"a\.bin"):
        await store.create("2", "a.bin")
    assert visible(store) == {"a.bin": b"first"}
    assert unfinished(store) == 0


async def test_rejecting_refuses_a_name_that_was_taken_meanwhile(make_store: MakeStore) -> None:
    store = make_store("reject")
    async with await store.create("1", "a.bin") as late:
        await late.write([b"late"])
        await put(store, "a.bin", b"first")
        with pytest.raises(ConflictError, match=r"a\.bin"):
            await late.commit()
    assert visible(store) == {"a.bin": b"first"}
    assert unfinished(store) == 0


async def test_replacing_puts_the_new_file_in_the_old_ones_place(make_store: MakeStore) -> None:
    store = make_store("replace")
    for content in (b"first, and longer", b"second"):
        assert await put(store, "a.bin", content) == "a.bin"
    assert visible(store) == {"a.bin": b"second"}
    assert unfinished(store) == 0


@pytest.mark.parametrize("kind", ["sha1", "sha256", "sha512", "blake2b"])
@pytest.mark.parametrize("size", [0, 1, 3_000_000])
async def test_each_hash_is_the_one_of_what_was_written(store: Store, kind: str, size: int) -> None:
    data = (DATA * 11)[:size]
    async with await store.create("1", "a.bin") as sink:
        for start in range(0, size, 700_001):
            await sink.write(
                [data[start : start + 300_000], data[start + 300_000 : start + 700_001]]
            )
        assert await sink.digest(kind) == hashlib.new(kind, data).hexdigest()
        # Asking changes nothing.
        assert await sink.digest(kind) == hashlib.new(kind, data).hexdigest()
        await sink.commit()
    assert visible(store) == {"a.bin": data}


async def test_check_passes_and_leaves_nothing(store: Store) -> None:
    await store.check()
    assert visible(store) == {}
    assert unfinished(store) == 0


async def test_many_files_of_one_name_at_once_are_all_stored(store: Store) -> None:
    names: dict[str, bytes] = {}

    async def upload(number: int) -> None:
        content = b"%d" % number * 1000
        async with await store.create(str(number), "a.bin") as sink:
            for start in range(0, len(content), 100):
                await sink.write([content[start : start + 30], content[start + 30 : start + 100]])
            names[(await sink.commit()).name] = content

    async with trio.open_nursery() as uploads:
        for number in range(40):
            uploads.start_soon(upload, number)
    assert set(names) == {"a.bin"} | {f"a ({number}).bin" for number in range(1, 40)}
    assert visible(store) == names
    assert unfinished(store) == 0


async def test_the_files_are_listed_with_their_sizes_and_no_unfinished_one(store: Store) -> None:
    assert await listed(store) == {}
    await put(store, "a.bin", DATA)
    await put(store, "anna/2026/a.bin", b"")
    async with await store.create("2", "late.bin"):
        sizes = {"a.bin": len(DATA), "anna/2026/a.bin": 0}
        assert await listed(store) == sizes
        assert store.scan().sizes in (sizes, None), "if it lists at the start"


@pytest.mark.parametrize("on_conflict", ["rename", "reject", "replace"])
async def test_a_published_file_is_found_by_the_identity_of_its_sink(
    make_store: MakeStore, on_conflict: OnConflict
) -> None:
    store = make_store(on_conflict)
    await put(store, "other.bin", b"other")
    async with await store.create("1", "b/a.bin") as sink, await store.create("2", "c") as late:
        await sink.prepare()
        await late.prepare()
        identity, unpublished = sink.identity, late.identity
        assert identity != unpublished
        assert store.scan([identity, unpublished]).names == {}
        await sink.commit()
        assert store.scan([identity, unpublished, "never"]).names == {identity: "b/a.bin"}
        assert store.scan([]).names == {}


async def test_a_file_that_was_replaced_is_found_no_more(make_store: MakeStore) -> None:
    store = make_store("replace")
    identities = []
    # Both are begun before either is published, so that no identity can be given twice.
    async with await store.create("1", "a") as first, await store.create("2", "a") as second:
        for sink in (first, second):
            await sink.prepare()
            identities.append(sink.identity)
            await sink.commit()
    assert store.scan(identities).names == {identities[1]: "a"}


async def test_a_renamed_file_is_found_under_the_name_that_it_got(store: Store) -> None:
    await put(store, "a", b"first")
    async with await store.create("1", "a") as sink:
        await sink.prepare()
        identity = sink.identity
        await sink.commit()
    assert store.scan({identity}).names == {identity: "a (1)"}


async def test_new_settings_hold_for_files_begun_from_then_on(make_store: MakeStore) -> None:
    store = make_store("rename")
    await put(store, "a", b"first")
    async with await store.create("1", "a") as begun:
        assert not begun.replaces
        store.reconfigure(Storage(on_conflict="replace", durability="none"))
        async with await store.create("2", "a") as later:
            assert later.replaces
            await later.write([b"later"])
            assert (await later.commit()).name == "a"
        await begun.write([b"begun"])
        assert (await begun.commit()).name == "a (1)"
    store.reconfigure(Storage(on_conflict="reject"))
    with pytest.raises(ConflictError):
        await store.create("3", "a")
    assert visible(store) == {"a": b"later", "a (1)": b"begun"}


async def test_the_place_of_a_file_is_below_the_location(store: Store) -> None:
    async with await store.create("1", "anna/a.bin") as sink:
        stored = await sink.commit()
    assert stored.name == "anna/a.bin"
    assert stored.path == os.path.join(store.location, "anna/a.bin")


async def test_the_free_space_is_a_number_of_bytes_where_there_is_a_limit(store: Store) -> None:
    free = await store.free()
    assert free is None or free >= 0
    space = await store.free_at("anna/a.bin")
    assert space is None or space.free >= 0
    assert visible(store) == {}
    assert store.part_size > 0
