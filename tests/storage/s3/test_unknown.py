"""Files of which nobody knows whether they were published: the answer was lost, and then the store.

They stay, since a request to remove one could remove a confirmed file of the same name.
"""

import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import pytest
import trio
from attrs import evolve
from helpers.clients import some_bytes
from helpers.clocks import FakeClock
from helpers.daemon import POLL
from helpers.s3_faults import Call, fail_at
from helpers.s3_store import PART, LedgerStore, opened_anew, visible

from galileod.policy.publication import OnConflict
from galileod.storage.base import Stored
from galileod.storage.errors import ConflictError, MissingError, StorageError
from galileod.storage.s3 import sweep
from galileod.storage.s3.client import Client
from galileod.storage.s3.errors import UncertainError
from galileod.storage.s3.sweep import Sweeper
from galileod.storage.whole import WholeFile, Written

pytestmark = pytest.mark.timeout(60)

LARGE: Final = some_bytes(PART + 1000)
SMALL: Final = LARGE[:1000]
SIZES: Final = [len(SMALL), len(LARGE)]

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


async def run_sweep(store: LedgerStore) -> None:
    await Sweeper(store.shared, lambda: 0, FakeClock(0)).sweep()


def known(store: LedgerStore) -> Sequence[str]:
    return [one.upload for one in store.ledger.objects.all()]


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize(("put", "size"), [(put, SIZES[0]), (put, SIZES[1]), (put_whole, SIZES[0])])
@pytest.mark.parametrize("conflict", ["rename", "reject", "replace"])
async def test_a_file_that_is_sent_again_takes_the_place_of_none(
    stores: Store, put: Put, size: int, conflict: OnConflict, *, restarted: bool
) -> None:
    store = stores(conflict)
    await lose(store, LARGE[:size], put)
    if restarted:
        store = opened_anew(store)
        store.recover({})
        assert store.scan([]).names == {}
    first, again = LARGE[:size], LARGE[-size:]
    expected = {
        "rename": {"a.bin": first, "a (1).bin": again},
        "reject": {"a.bin": first},
        "replace": {"a.bin": again},
    }
    if conflict == "reject":
        with pytest.raises(ConflictError):
            await put(store, again, "2")
    else:
        assert await put(store, again, "2") in expected[conflict]
    await store.ledger.objects.drop("2")  # as if it was entered, or discarded
    await run_sweep(store)
    assert visible(store) == expected[conflict]
    assert known(store) == []


@pytest.mark.parametrize("size", SIZES)
async def test_a_file_that_is_not_sent_again_stays(stores: Store, size: int) -> None:
    store = stores("rename")
    await lose(store, LARGE[:size])
    await run_sweep(store)
    assert (visible(store), known(store)) == ({"a.bin": LARGE[:size]}, [])


async def test_what_may_have_replaced_another_file_is_not_removed(stores: Store) -> None:
    store = stores("replace")
    await lose(store, SMALL)
    await run_sweep(store)
    assert (visible(store), known(store)) == ({"a.bin": SMALL}, [])


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
    assert (visible(store), known(store)) == ({"a.bin": LARGE}, [])


async def test_the_object_of_another_is_not_taken_for_an_abandoned_one(stores: Store) -> None:
    store = stores("rename")
    await lose(store, SMALL)
    store.shared.client.put(store.shared.key("a.bin"), b"other", {}, new=False)
    assert await put(store, LARGE, "2") == "a (1).bin"
    assert await put_whole(store, SMALL, "3") == "a (2).bin"
    await store.ledger.objects.drop("2")
    await store.ledger.objects.drop("3")
    await run_sweep(store)
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
    await run_sweep(store)
    assert (visible(store), known(store)) == ({"a.bin": LARGE[:size]}, [])


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
        assert await sink.commit() == Stored("a.bin", place.path("a.bin"))
    assert visible(store) == {"a.bin": LARGE}
