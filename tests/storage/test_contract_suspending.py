"""The contract of a store for uploads that are interrupted and continued."""

import hashlib
from collections.abc import Callable, Collection, Mapping

import pytest
import trio
from helpers.store_kinds import DATA, MakeStore, Restart, kind_of, put, sha1, unfinished, visible

from galileod.policy.publication import Durability, OnConflict
from galileod.storage.base import Sink, Store
from galileod.storage.errors import ConflictError, MissingError, StorageError
from galileod.storage.finished import Recovered
from galileod.storage.local import LocalStore

pytestmark = pytest.mark.timeout(20)


def durability(store: Store) -> Durability:
    return store._settings.durability if isinstance(store, LocalStore) else "full"


async def reopen(store: Store, path: str = "a.bin", on_conflict: OnConflict = "rename") -> Sink:
    return await store.reopen("1", path, on_conflict, durability(store))


def durable(store: Store) -> bool:
    return durability(store) == "full"


def checked(store: Store, data: bytes) -> tuple[str | None, ...]:
    """What `Sink.check` may be after a restart, before the file was read back."""
    return (sha1(data),) if kind_of(store).keeps_parts else (None,)


async def suspended(store: Store, data: bytes = DATA) -> int:
    async with await store.create("1", "a.bin") as sink:
        await sink.write([data])
        return await sink.suspend()


async def test_a_suspended_file_goes_on_where_it_was(store: Store) -> None:
    assert await suspended(store, DATA[:1000]) == (1000 if durable(store) else 0)
    assert visible(store) == {}
    assert unfinished(store) == 1
    async with await reopen(store) as sink:
        assert (sink.offset, sink.check) == (1000, sha1(DATA[:1000]))
        await sink.catch_up()
        await sink.write([DATA[1000:2000], DATA[2000:]])
        assert (sink.offset, sink.check) == (len(DATA), sha1(DATA))
        assert await sink.digest("sha1") == sha1(DATA)
        assert await sink.digest("sha256") == hashlib.sha256(DATA).hexdigest()
        await sink.commit()
    assert visible(store) == {"a.bin": DATA}
    assert unfinished(store) == 0


@pytest.mark.parametrize("way", ["suspended", "killed"])
async def test_a_file_goes_on_after_a_restart(store: Store, restart: Restart, way: str) -> None:
    sink = await store.create("1", "anna/a.bin")
    await sink.write([DATA[:1000]])
    if way == "suspended":
        await sink.suspend()
    store = restart(store)
    found = store.recover({"1": None, "2": None, "3": 7})
    if way == "killed" and kind_of(store).keeps_parts:
        assert found == {}
        return
    assert found == {"1": Recovered(1000)}
    async with await reopen(store, "anna/a.bin") as sink:
        assert sink.offset == 1000
        assert sink.check in checked(store, DATA[:1000])
        await sink.write([DATA[1000:2000]])
        assert sink.offset == 2000
        assert sink.check in checked(store, DATA[:2000])
        await sink.catch_up()
        assert sink.check == sha1(DATA[:2000])
        await sink.write([DATA[2000:]])
        assert (sink.offset, sink.check) == (len(DATA), sha1(DATA))
        await sink.prepare()
        identity = sink.identity
        await sink.commit()
    assert visible(store) == {"anna/a.bin": DATA}
    assert store.scan([identity]).names == {identity: "anna/a.bin"}
    assert unfinished(store) == 0


async def test_the_hash_of_a_file_after_a_restart_waits_for_what_is_not_read_back(
    store: Store, restart: Restart
) -> None:
    await suspended(store, DATA[:200_000])
    store = restart(store)
    store.recover({"1": None})
    async with await reopen(store) as sink:
        await sink.write([DATA[200_000:]])
        assert await sink.digest("sha1") == sha1(DATA)
        assert sink.check == sha1(DATA)


@pytest.mark.parametrize("rounds", [3])
async def test_a_file_may_be_suspended_and_recovered_any_number_of_times(
    store: Store, restart: Restart, rounds: int
) -> None:
    step = len(DATA) // rounds
    await suspended(store, DATA[:step])
    for number in range(1, rounds):
        async with await reopen(store) as sink:
            await sink.write([DATA[number * step : (number + 1) * step]])
            await sink.suspend()
        store = restart(store)
        store.recover({"1": None})
    async with await reopen(store) as sink:
        assert sink.offset == rounds * step
        await sink.commit()
    assert visible(store) == {"a.bin": DATA[: rounds * step]}


@pytest.mark.parametrize("certain", [1, 500, 1000, 5000])
async def test_no_more_than_what_is_certain_is_recovered(
    store: Store, restart: Restart, certain: int
) -> None:
    await suspended(store, DATA[:1000])
    store = restart(store)
    offset = 1000 if kind_of(store).keeps_parts else min(certain, 1000)
    assert store.recover({"1": certain}) == {"1": Recovered(offset)}
    # What is left is certain from now on.
    store = restart(store)
    assert store.recover({"1": None}) == {"1": Recovered(offset)}
    async with await reopen(store) as sink:
        assert sink.offset == offset
        await sink.write([DATA[offset : offset + 10]])
        assert await sink.digest("sha1") == sha1(DATA[: offset + 10])
        await sink.commit()
    assert visible(store) == {"a.bin": DATA[: offset + 10]}


async def recovered(
    store: Store,
    trusted: Mapping[str, int | None],
    step: Callable[[], None] = lambda: None,
    spared: Collection[str] = (),
) -> Mapping[str, Recovered]:
    """`Store.recover`, and then `drop` of what is of no use."""
    found = store.recover(trusted, step, spared)
    useless = [name for name, each in found.items() if each == Recovered(0)]
    for name in useless:
        await store.drop(name)
    return {name: each for name, each in found.items() if name not in useless}


async def test_recovery_removes_what_is_not_asked_for_and_what_is_empty(
    store: Store, restart: Restart
) -> None:
    for upload, data in (("1", DATA), ("2", DATA), ("3", b""), ("4", DATA)):
        async with await store.create(upload, "a.bin") as sink:
            await sink.write([data])
            await sink.suspend()
    store, steps = restart(store), list[int]()
    found = await recovered(store, {"1": None, "3": None, "4": 0}, lambda: steps.append(1))
    assert found == {"1": Recovered(len(DATA))}
    assert len(steps) >= 4
    assert unfinished(store) == 1
    for upload in ("2", "3", "4"):
        with pytest.raises(MissingError):
            await store.reopen(upload, "a.bin", "rename", "full")


async def test_recovery_leaves_the_uploads_of_others_as_they_are(
    store: Store, restart: Restart
) -> None:
    for upload in ("1", "2", "3"):
        async with await store.create(upload, "a.bin") as sink:
            await sink.write([DATA])
            await sink.suspend()
    store = restart(store)
    assert (await recovered(store, {"1": 10}, spared={"2"}))["1"].identity is None
    assert unfinished(store) == 2
    async with await store.reopen("2", "a.bin", "rename", durability(store)) as sink:
        assert sink.offset == len(DATA)
        await sink.commit()
    assert visible(store) == {"a.bin": DATA}
    with pytest.raises(MissingError):
        await store.reopen("3", "a.bin", "rename", durability(store))


async def test_a_file_that_is_not_suspended_is_missing(store: Store) -> None:
    with pytest.raises(MissingError):
        await reopen(store)
    await put(store, "a.bin", DATA)
    with pytest.raises(MissingError):
        await reopen(store)
    assert visible(store) == {"a.bin": DATA}


async def test_a_suspended_file_that_is_dropped_is_gone(store: Store) -> None:
    await suspended(store)
    for _ in range(2):
        await store.drop("1")
        assert unfinished(store) == 0
    with pytest.raises(MissingError):
        await reopen(store)


async def test_a_suspended_sink_is_of_no_use_any_more(store: Store) -> None:
    sink = await store.create("1", "a.bin")
    await sink.write([DATA])
    await sink.suspend()
    with pytest.raises(StorageError):
        await sink.write([DATA])
    with pytest.raises(StorageError):
        await sink.suspend()
    await sink.discard()
    async with await reopen(store) as again:
        with pytest.raises(StorageError):
            await sink.write([DATA])
        await sink.discard()
        assert await again.digest("sha1") == sha1(DATA)
        await again.commit()
    assert visible(store) == {"a.bin": DATA}


async def test_a_stored_file_cannot_be_suspended(store: Store) -> None:
    async with await store.create("1", "a.bin") as sink:
        await sink.write([DATA])
        await sink.commit()
        with pytest.raises(StorageError):
            await sink.suspend()
    assert visible(store) == {"a.bin": DATA}


async def test_suspending_works_in_a_cancelled_scope(store: Store) -> None:
    with trio.CancelScope() as scope:
        async with await store.create("1", "a.bin") as sink:
            await sink.write([DATA])
            scope.cancel()
            await sink.suspend()
    async with await reopen(store) as sink:
        assert (sink.offset, sink.check) == (len(DATA), sha1(DATA))


async def test_a_continued_file_that_is_discarded_leaves_nothing(store: Store) -> None:
    await suspended(store)
    async with await reopen(store):
        pass
    assert unfinished(store) == 0
    with pytest.raises(MissingError):
        await reopen(store)


async def test_a_checkpoint_tells_what_is_durable(store: Store) -> None:
    async with await store.create("1", "a.bin") as sink:
        assert await sink.checkpoint() == 0
        for end in (1000, 5000):
            await sink.write([DATA[end - 1000 : end]])
            whole = durable(store) and not kind_of(store).keeps_parts
            assert await sink.checkpoint() == (sink.offset if whole else 0)
            assert await sink.checkpoint() == (sink.offset if whole else 0)


async def test_a_conflict_leaves_a_suspended_file_as_it_is(make_store: MakeStore) -> None:
    store = make_store("rename")
    await suspended(store)
    await put(store, "a.bin", b"first")
    for _ in range(2):
        with pytest.raises(ConflictError, match=r"a\.bin"):
            await reopen(store, on_conflict="reject")
    async with await reopen(store, on_conflict="replace") as sink:
        assert sink.replaces
        assert sink.check == sha1(DATA)
        await sink.commit()
    assert visible(store) == {"a.bin": DATA}


async def test_a_complete_file_that_could_not_be_published_is_published_later(
    make_store: MakeStore,
) -> None:
    store = make_store("reject")
    async with await store.create("1", "a.bin") as sink:
        await sink.write([DATA])
        await sink.prepare()
        await put(store, "a.bin", b"first")
        with pytest.raises(ConflictError):
            await sink.commit()
        await sink.suspend()
    assert visible(store) == {"a.bin": b"first"}
    await store.remove(["a.bin"])
    async with await reopen(store, on_conflict="reject") as sink:
        assert (sink.offset, sink.check) == (len(DATA), sha1(DATA))
        await sink.prepare()
        identity = sink.identity
        await sink.commit()
    assert visible(store) == {"a.bin": DATA}
    assert store.scan([identity]).names == {identity: "a.bin"}


async def test_a_file_is_continued_while_it_is_read_back(store: Store, restart: Restart) -> None:
    await suspended(store, DATA[:150_000])
    store = restart(store)
    store.recover({"1": None})
    async with await reopen(store) as sink:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sink.catch_up)
            for start in range(150_000, len(DATA), 10_000):
                await sink.write([DATA[start : start + 10_000]])
        await sink.catch_up()
        assert sink.check == sha1(DATA)
        await sink.commit()
    assert visible(store) == {"a.bin": DATA}
