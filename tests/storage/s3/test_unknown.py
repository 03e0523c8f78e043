"""Files of which nobody knows whether they were published: the answer was lost, and then the store.

Nobody hears of them. Their requests may be carried out late, and must not replace a confirmed file.
"""

import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import pytest
import trio
from attrs import evolve
from helpers.clients import some_bytes
from helpers.daemon import POLL
from helpers.ledgers import allow
from helpers.s3_faults import Call, fail_at
from helpers.s3_store import PART, LedgerStore, opened_anew, visible

from galileod.policy.publication import OnConflict
from galileod.storage.base import Stored
from galileod.storage.errors import (
    ConflictError,
    MissingError,
    StorageBusyError,
    StorageError,
    UnavailableError,
)
from galileod.storage.s3 import sweep
from galileod.storage.s3.client import Client
from galileod.storage.s3.doubts import LATE_SECONDS
from galileod.storage.s3.errors import KeyTakenError, UncertainError
from galileod.storage.s3.sweep import Sweeper
from galileod.storage.whole import WholeFile, Written

pytestmark = pytest.mark.timeout(60)

LARGE: Final = some_bytes(PART + 1000)
SMALL: Final = LARGE[:1000]
SIZES: Final = [len(SMALL), len(LARGE)]
LATEST: Final = LATE_SECONDS + 60
"""Seconds after which no request is late any more."""

Store = Callable[[OnConflict], LedgerStore]
Put = Callable[[LedgerStore, bytes, str], Awaitable[str]]


@pytest.fixture
def stores(make_store: Any) -> Store:  # noqa: ANN401
    store: Store = make_store
    return store


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "PAUSE", 0)


class Losing:
    """A client whose store carries out the next publication, and then is not reachable."""

    def __init__(self, inner: Any) -> None:  # noqa: ANN401
        self._inner = inner
        self._gone = False

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        call = getattr(self._inner, name)
        if not callable(call):
            return call

        def lose(*args: Any, **keys: Any) -> Any:  # noqa: ANN401
            if self._gone:
                raise StorageError("the bucket is not reachable")
            result = call(*args, **keys)
            if name in ("put", "complete"):
                self._gone = True
                raise UncertainError("no answer")
            return result

        return lose


def losing(store: LedgerStore) -> Callable[[], None]:
    """Lose the next publication; call what it returns to have the store back."""
    before = store.shared
    client: Any = Losing(before.client)
    store.shared = evolve(before, client=client)

    def heal() -> None:
        store.shared = before

    return heal


async def put(store: LedgerStore, data: bytes, upload: str) -> str:
    async with await store.create(upload, "a.bin", size=len(data)) as sink:
        await sink.write([data])
        return (await sink.commit()).name


async def put_whole(store: LedgerStore, data: bytes, upload: str) -> str:
    conflict = store._settings.on_conflict
    (written,) = await store.write_whole([WholeFile(upload, "a.bin", [data], (), conflict, "full")])
    assert isinstance(written, Written)
    (stored,) = await store.publish_whole([written])
    if isinstance(stored, StorageError):
        raise stored
    return stored.name


async def lose(store: LedgerStore, data: bytes, put: Put = put) -> None:
    """Publish a file whose answer is lost, and all that follows."""
    heal = losing(store)
    with pytest.raises(StorageError, match="not reachable"):
        await put(store, data, "1")
    heal()
    assert visible(store) == {"a.bin": data}


async def run_sweep(store: LedgerStore, after: float = 0) -> None:
    """Sweep so many seconds from now."""
    await Sweeper(store.shared, lambda: 0, lambda: time.time() + after).sweep()


def known(store: LedgerStore) -> Sequence[str]:
    return [one.upload for one in store.ledger.objects.all()]


async def put_in_time(store: LedgerStore, put: Put, data: bytes) -> str:
    """As a client that tries again when it hears `busy`; the name is entered as that of a file."""
    try:
        name = await put(store, data, "2")
    except StorageBusyError:
        await run_sweep(store, LATEST)
        name = await put(store, data, "2")
    await enter(store, name, "2")
    return name


async def enter(store: LedgerStore, name: str, upload: str) -> None:
    """Confirm a file."""
    await store.ledger.reserve(upload, "anna", 1, allow)
    await store.ledger.commit(upload, name)


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize(("put", "size"), [(put, SIZES[0]), (put, SIZES[1]), (put_whole, SIZES[0])])
@pytest.mark.parametrize("conflict", ["rename", "reject", "replace"])
async def test_a_file_that_is_sent_again_is_there_once(
    stores: Store, put: Put, size: int, conflict: OnConflict, *, restarted: bool
) -> None:
    store = stores(conflict)
    await lose(store, LARGE[:size], put)
    if restarted:
        store = opened_anew(store)
        store.recover({})
        assert store.scan([]).names == {}
    again = LARGE[-size:]
    numbered = conflict == "rename" and size > PART  # until the first one is aborted
    name = "a (1).bin" if numbered else "a.bin"
    assert await put_in_time(store, put, again) == name
    await run_sweep(store, LATEST)
    assert visible(store) == {name: again}
    assert known(store) == []


@pytest.mark.parametrize("conflict", ["rename", "replace"])
@pytest.mark.parametrize("size", SIZES)
async def test_a_file_that_is_not_sent_again_is_removed_once_no_request_can_be_late(
    stores: Store, size: int, conflict: OnConflict
) -> None:
    store = stores(conflict)
    await lose(store, LARGE[:size])
    await run_sweep(store)
    if size < PART:
        assert (visible(store), known(store)) == ({"a.bin": LARGE[:size]}, ["1"])
        await run_sweep(store, LATEST)
    assert (visible(store), known(store)) == ({}, [])


@pytest.mark.parametrize("size", SIZES)
async def test_what_has_replaced_a_file_stays(stores: Store, size: int) -> None:
    store = stores("replace")
    await enter(store, await put(store, b"old", "0"), "0")
    await lose(store, LARGE[:size])
    await run_sweep(store, LATEST)
    assert (visible(store), known(store)) == ({"a.bin": LARGE[:size]}, [])


async def test_an_upload_stays_known_until_the_bucket_can_be_asked(stores: Store) -> None:
    store = stores("rename")
    await lose(store, LARGE)
    heal = losing(store)
    with pytest.raises(UncertainError):
        store.shared.client.put("other", b"", {}, new=False)
    await run_sweep(store)
    heal()
    assert known(store) == ["1"]
    await run_sweep(store)
    assert (visible(store), known(store)) == ({}, [])


@pytest.mark.parametrize("size", SIZES)
async def test_the_object_of_another_is_not_taken_for_an_abandoned_one(
    stores: Store, size: int
) -> None:
    store = stores("rename")
    await lose(store, LARGE[:size])
    store.shared.client.put(store.shared.key("a.bin"), b"other", {}, new=False)
    assert await put(store, LARGE, "2") == "a (1).bin"
    assert await put_whole(store, SMALL, "3") == "a (2).bin"
    await enter(store, "a (1).bin", "2")
    await enter(store, "a (2).bin", "3")
    await run_sweep(store, LATEST)
    assert visible(store) == {"a.bin": b"other", "a (1).bin": LARGE, "a (2).bin": SMALL}
    assert known(store) == []


async def test_a_file_is_refused_although_an_abandoned_one_had_its_name_before(
    stores: Store,
) -> None:
    store = stores("reject")
    await lose(store, SMALL)
    store.shared.client.put(store.shared.key("a.bin"), b"other", {}, new=False)
    with pytest.raises(ConflictError):
        await put(store, SMALL, "2")


# Requests that the store carries out late.


def holding(store: LedgerStore, method: str) -> list[Call]:
    """From now on, requests get no answer; those that are returned can be carried out later."""
    held = list[Call]()

    def hold(call: Call, *_: object) -> None:
        held.append(call)
        raise UncertainError("no answer")

    fail_at(store, method, hold)
    return held


@pytest.mark.parametrize("aborted", [False, True])
@pytest.mark.parametrize("conflict", ["rename", "replace"])
async def test_a_complete_that_is_late_replaces_no_file(
    stores: Store, conflict: OnConflict, *, aborted: bool
) -> None:
    store = stores(conflict)
    before = store.shared
    held = holding(store, "complete")
    if not aborted:
        fail_at(store, "abort", refuse)
    with pytest.raises(UncertainError):
        await put(store, LARGE, "1")
    store.shared = before
    assert known(store) == ([] if aborted else ["1"])
    if not aborted and conflict == "replace":
        with pytest.raises(StorageBusyError, match=r"a\.bin is not settled yet"):
            await put(store, SMALL, "2")
        await run_sweep(store)
        assert known(store) == []
    name = await put(store, SMALL, "2")
    assert name == ("a (1).bin" if not aborted and conflict == "rename" else "a.bin")
    if name == "a.bin":
        with pytest.raises(StorageError):
            held[0]()
    else:
        held[0]()
        await run_sweep(store)
    assert visible(store) == {name: SMALL}


def refuse(*_: object) -> None:
    raise StorageError("not reachable")


async def test_a_put_that_replaces_has_its_name_until_it_cannot_be_late_any_more(
    stores: Store,
) -> None:
    store = stores("replace")
    before = store.shared
    held = holding(store, "put")
    with pytest.raises(UncertainError):
        await put(store, SMALL, "1")
    store.shared = before
    for again in (put, put_whole):
        with pytest.raises(StorageBusyError, match=r"a\.bin is not settled yet"):
            await again(store, SMALL[1:], "2")
    held[0]()
    await run_sweep(store, LATEST)
    assert visible(store) == {}
    await put(store, SMALL[1:], "2")
    assert visible(store) == {"a.bin": SMALL[1:]}


async def test_a_put_that_replaces_nothing_leaves_its_name_at_once(stores: Store) -> None:
    store = stores("reject")
    before = store.shared
    held = holding(store, "put")
    with pytest.raises(UncertainError):
        await put(store, SMALL, "1")
    store.shared = before
    assert await put(store, SMALL[1:], "2") == "a.bin"
    with pytest.raises(KeyTakenError):
        held[0]()
    assert visible(store) == {"a.bin": SMALL[1:]}


@pytest.mark.parametrize("conflict", ["rename", "reject"])
async def test_where_no_request_has_a_condition_a_put_has_its_name_as_long(
    stores: Store, conflict: OnConflict, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = stores(conflict)
    before = store.shared
    monkeypatch.setattr(before.client, "conditional", False)
    held = holding(store, "put")
    with pytest.raises(UncertainError):
        await put(store, SMALL, "1")
    store.shared = before
    if conflict == "reject":
        with pytest.raises(StorageBusyError):
            await put_whole(store, SMALL[1:], "2")
    else:
        assert await put_whole(store, SMALL[1:], "2") == "a (1).bin"
        await enter(store, "a (1).bin", "2")
    held[0]()
    await run_sweep(store, LATEST)
    assert known(store) == []
    assert "a.bin" not in visible(store)


async def test_files_of_one_batch_that_replace_one_another_are_stored_in_order(
    stores: Store,
) -> None:
    store = stores("replace")
    files = [
        WholeFile(f"{number}", "a.bin", [bytes([number])], (), "replace", "full")
        for number in range(5)
    ]
    written = [one for one in await store.write_whole(files) if isinstance(one, Written)]
    assert [one for one in await store.publish_whole(written) if isinstance(one, Stored)]
    assert visible(store) == {"a.bin": bytes([4])}


async def test_a_file_of_a_batch_does_not_follow_one_of_its_name_that_is_in_doubt(
    stores: Store,
) -> None:
    store = stores("replace")
    before = store.shared
    files = [
        WholeFile(f"{number}", "a.bin", [bytes([number])], (), "replace", "full")
        for number in range(2)
    ]
    written = [one for one in await store.write_whole(files) if isinstance(one, Written)]
    holding(store, "put")
    first, second = await store.publish_whole(written)
    store.shared = before
    assert isinstance(first, UncertainError)
    assert isinstance(second, StorageBusyError)
    assert (visible(store), known(store)) == ({}, ["0"])


# Removing what nobody was told of.


async def test_the_name_is_not_free_while_a_removal_may_be_late(stores: Store) -> None:
    store = stores("reject")
    await lose(store, SMALL)
    before = store.shared
    held = holding(store, "delete")
    await run_sweep(store, LATEST)
    store.shared = before
    assert known(store) == ["1"]
    with pytest.raises(StorageBusyError):
        await put(store, SMALL, "2")
    await run_sweep(store, LATEST)
    assert len(held) == 1, "not sent again, either"
    await run_sweep(store, 2 * LATEST)
    assert (visible(store), known(store)) == ({}, [])


async def test_of_sweeps_at_the_same_time_one_removes_an_object(stores: Store) -> None:
    # The removal of the other could be late: after the name was free, and a file had it.
    store = stores("reject")
    await lose(store, SMALL)
    before, removed = store.shared, list[str]()
    looks = threading.Barrier(2, timeout=20)

    def look(call: Call, *_: object) -> Any:  # noqa: ANN401
        found = call()
        if not removed and not looks.broken:
            try:
                looks.wait(1)
            except threading.BrokenBarrierError:
                pass  # the second look of one of them
        return found

    def remove(call: Call, key: str) -> None:
        removed.append(key)
        call()

    fail_at(store, "delete", remove)
    fail_at(store, "head", look)
    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(run_sweep, store, LATEST)
    store.shared = before
    assert len(removed) == 1
    assert (visible(store), known(store)) == ({}, [])


async def test_an_object_whose_name_another_upload_has_by_now_is_not_removed(
    stores: Store,
) -> None:
    store = stores("rename")
    await lose(store, SMALL)
    await store.ledger.reserve("2", "anna", len(LARGE), allow)
    async with await store.create("2", "a.bin", size=len(LARGE)) as sink:
        await sink.write([LARGE[: PART + 1]])
        await run_sweep(store, LATEST)
        assert (visible(store), known(store)) == ({"a.bin": SMALL}, ["1", "2"])
        await sink.write([LARGE[PART + 1 :]])
        assert (await sink.commit()).name == "a.bin"
    await store.ledger.commit("2", "a.bin")
    await run_sweep(store, LATEST)
    assert (visible(store), known(store)) == ({"a.bin": LARGE}, [])


async def test_what_is_in_doubt_is_settled_as_soon_as_the_store_answers(
    stores: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(sweep, "LONGEST_PAUSE", 0.02)
    store = stores("rename")
    before, tried = store.shared, threading.Event()

    def fail(*_: object) -> None:
        if held:
            tried.set()
        raise StorageError("not reachable")

    fail_at(store, "abort", fail)
    held = holding(store, "complete")
    await store.ledger.reserve("1", "anna", len(LARGE), allow)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.maintain, lambda: 0)
        with pytest.raises(UncertainError):
            await put(store, LARGE, "1")
        await trio.to_thread.run_sync(tried.wait)
        assert known(store) == ["1"]
        await store.ledger.release("1")
        faulty: Any = store.shared.client
        faulty._inner._act = lambda call, *_: call()
        while known(store):  # noqa: ASYNC110  nothing tells
            await trio.sleep(POLL)
        nursery.cancel_scope.cancel()
    store.shared = before
    assert (visible(store), list(before.client.unfinished(before.prefix))) == ({}, [])


# Outages of seconds.


@pytest.mark.parametrize("carried_out", [False, True])
@pytest.mark.parametrize(("put", "size"), [(put, SIZES[0]), (put, SIZES[1]), (put_whole, SIZES[0])])
@pytest.mark.parametrize("conflict", ["rename", "reject", "replace"])
async def test_an_outage_of_seconds_makes_no_failure_and_no_second_file(
    stores: Store, put: Put, size: int, conflict: OnConflict, *, carried_out: bool
) -> None:
    store = stores(conflict)
    before, method = store.shared, "complete" if size > PART else "put"
    failures: list[type[StorageError]] = [UncertainError, UnavailableError, StorageBusyError]
    looks = [StorageError] * 2

    def fail(call: Call, *_: object) -> Any:  # noqa: ANN401
        if not failures:
            return call()
        failure = failures.pop(0)
        if carried_out and failure is UncertainError:
            call()
        raise failure("no answer")

    def look(call: Call, key: str) -> Any:  # noqa: ANN401
        if len(failures) < 3 and looks:
            raise looks.pop()("not reachable")
        return call()

    fail_at(store, method, fail)
    fail_at(store, "head", look)
    assert await put(store, LARGE[:size], "1") == "a.bin"
    store.shared = before
    assert visible(store) == {"a.bin": LARGE[:size]}
    assert bool(failures) == carried_out
    ((due,),) = [[one.due] for one in store.ledger.objects.all()]
    assert due is None


# The end of the daemon.


@pytest.mark.parametrize(("put", "size"), [(put, SIZES[0]), (put, SIZES[1]), (put_whole, SIZES[0])])
async def test_a_publication_that_hangs_does_not_hold_up_the_end(
    stores: Store, put: Put, size: int
) -> None:
    store = stores("rename")
    begun, go_on = threading.Event(), threading.Event()

    def hang(call: Call, *_: object) -> Any:  # noqa: ANN401
        begun.set()
        go_on.wait(30)
        return call()

    heal = fail_at(store, "complete" if size > PART else "put", hang)

    async def publish() -> None:
        with pytest.raises(StorageError, match="in time"):
            await put(store, LARGE[:size], "1")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(publish)
        await trio.to_thread.run_sync(begun.wait)
        store.hurry(0.1)
    with pytest.raises(StorageError, match="in time"):
        await put(store, LARGE[:size], "2")
    go_on.set()
    heal()
    while store.shared.late:  # noqa: ASYNC110  nothing tells
        await trio.sleep(POLL)
    # Nobody was told that it is stored.
    assert (visible(store), known(store)) == ({"a.bin": LARGE[:size]}, ["1"])
    await run_sweep(store, LATEST)
    assert (visible(store), known(store)) == ({}, [])


# A bucket that is gone, and comes back.


async def test_an_interrupted_upload_outlives_its_bucket(stores: Store) -> None:
    store = stores("rename")
    async with await store.create("1", "a.bin", size=len(LARGE)) as sink:
        await sink.write([LARGE[:-1]])
        assert await sink.suspend() == len(LARGE) - 1
    place = store.shared
    store.shared = evolve(place, client=Client(place.client._connection, "gone"))
    with pytest.raises(StorageError, match="the bucket does not exist") as caught:
        await store.reopen("1", "a.bin", "rename", "full")
    assert not isinstance(caught.value, MissingError)
    store.shared = place
    async with await store.reopen("1", "a.bin", "rename", "full") as sink:
        await sink.write([LARGE[-1:]])
        assert await sink.commit() == Stored("a.bin", place.path("a.bin"), sink.identity)
    assert visible(store) == {"a.bin": LARGE}
