"""Files of several parts: sent, interrupted, continued and published, on Ceph."""

import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import trio
from attrs import evolve
from helpers.clients import some_bytes
from helpers.s3_faults import Call, fail_at
from helpers.s3_store import MIB, PART, LedgerStore, memory, tail_keys
from helpers.store_kinds import MakeStore, Restart, sha1, unfinished, visible

from galileod.policy.publication import OnConflict
from galileod.storage.base import Sink
from galileod.storage.errors import (
    ConflictError,
    MissingError,
    StorageBusyError,
    StorageError,
    UnsupportedHashError,
)
from galileod.storage.finished import Recovered, Standing
from galileod.storage.s3 import sink as sink_module
from galileod.storage.s3.errors import NoSuchUploadError, UncertainError

pytestmark = pytest.mark.timeout(60)

DATA = some_bytes(3 * PART)
STEP = 700_001


@pytest.fixture
def stores(make_store: MakeStore) -> Callable[[OnConflict], LedgerStore]:
    def make(on_conflict: OnConflict) -> LedgerStore:
        store = make_store(on_conflict)
        assert isinstance(store, LedgerStore)
        return store

    return make


@pytest.fixture
def bucket_store(stores: Callable[[OnConflict], LedgerStore]) -> Iterator[LedgerStore]:
    store = stores("rename")
    yield store
    memory: Any = store.shared.memory
    assert memory._pool.share.held == 0


async def write(sink: Sink, data: bytes) -> None:
    for start in range(0, len(data), STEP):
        await sink.write([data[start : start + STEP]])


async def write_all(sink: Sink, data: bytes) -> str:
    await write(sink, data)
    return (await sink.commit()).name


async def late_parts(store: LedgerStore) -> None:
    """Wait until no part is on its way any more."""
    while store.shared.late:  # noqa: ASYNC110  nothing tells
        await trio.sleep(0.01)


async def put(store: LedgerStore, data: bytes, upload: str = "1", name: str = "a.bin") -> str:
    async with await store.create(upload, name, size=len(data)) as sink:
        return await write_all(sink, data)


async def interrupt(store: LedgerStore, until: int, size: int = len(DATA)) -> int:
    """Begin an upload of DATA, and suspend it; returns what is kept."""
    async with await store.create("1", "a.bin", size=size) as sink:
        await write(sink, DATA[:until])
        kept = await sink.suspend()
        assert kept == sink.offset
        return kept


async def reopen(store: LedgerStore, on_conflict: OnConflict = "rename") -> Sink:
    return await store.reopen("1", "a.bin", on_conflict, "full")


async def finish(store: LedgerStore, offset: int, size: int = len(DATA)) -> None:
    """Continue the upload, and publish it."""
    async with await reopen(store) as sink:
        assert (sink.offset, sink.check) == (offset, sha1(DATA[:offset]))
        await write(sink, DATA[offset:size])
        assert await sink.digest("sha1") == sha1(DATA[:size])
        await sink.commit()
    assert visible(store) == {"a.bin": DATA[:size]}
    assert (unfinished(store), tail_keys(store)) == (0, [])


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("size", [PART - 1, PART, PART + 1, 2 * PART, 2 * PART + 1, 3 * PART - 1])
async def test_a_file_of_any_number_of_parts_is_stored_as_it_was_written(
    bucket_store: LedgerStore, size: int, *, known: bool
) -> None:
    data = DATA[:size]
    async with await bucket_store.create("1", "a.bin", size=size if known else None) as sink:
        sink.modified = 1_234_567_890_123_456_789
        await write(sink, data)
        assert (sink.offset, sink.check) == (size, sha1(data))
        await sink.prepare()
        assert visible(bucket_store) == {}
        assert await sink.digest("sha1") == sha1(data)
        await sink.commit()
    assert visible(bucket_store) == {"a.bin": data}
    assert unfinished(bucket_store) == 0
    standing = Standing(size, 1_234_567_890_123_000_000, "1", ("1",))
    assert await bucket_store.look(["a.bin"]) == [standing]


async def test_other_hashes_are_computed_of_files_of_one_part_alone(
    bucket_store: LedgerStore,
) -> None:
    async with await bucket_store.create("1", "a.bin", size=PART + 1) as sink:
        await write(sink, DATA[: PART + 1])
        with pytest.raises(UnsupportedHashError, match="sha256"):
            await sink.digest("sha256")


async def test_several_parts_are_sent_at_once_while_the_next_is_filled(
    bucket_store: LedgerStore,
) -> None:
    together = threading.Barrier(2)

    def wait(call: Call, *_: object) -> str:
        if together.n_waiting or not together.broken:
            together.wait(20)
        return str(call())

    fail_at(bucket_store, "upload_part", wait)
    await put(bucket_store, DATA + DATA[:PART])
    assert visible(bucket_store) == {"a.bin": DATA + DATA[:PART]}


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("until", [1000, PART - 1, PART, PART + 1000, 2 * PART, 3 * PART])
async def test_an_interrupted_upload_goes_on_with_all_that_had_come(
    bucket_store: LedgerStore, restart: Restart, until: int, *, restarted: bool
) -> None:
    store = bucket_store
    assert await interrupt(store, until) == until
    assert len(tail_keys(store)) == (1 if until % PART else 0)
    if restarted:
        fresh = restart(store)
        assert isinstance(fresh, LedgerStore)
        store = fresh
        assert store.recover({"1": None}) == {"1": Recovered(until)}
    sent = list[int]()

    def count(call: Call, _key: str, _multipart: str, number: int, _body: object) -> Any:  # noqa: ANN401
        sent.append(number)
        return call()

    fail_at(store, "upload_part", count)
    await finish(store, until)
    assert sorted(sent) == list(range(until // PART + 1, 4)), "what is stored is not sent again"


async def test_a_file_of_one_part_goes_on_after_each_interruption(
    bucket_store: LedgerStore,
) -> None:
    assert await interrupt(bucket_store, 1000, 5000) == 1000
    async with await reopen(bucket_store) as sink:
        await sink.write([DATA[1000:3000]])
        await sink.suspend()
    assert len(tail_keys(bucket_store)) == 1
    await finish(bucket_store, 3000, 5000)


async def test_a_line_that_breaks_more_often_than_a_part_takes_ends_an_upload_all_the_same(
    bucket_store: LedgerStore,
) -> None:
    offset = await interrupt(bucket_store, MIB, 2 * PART)
    while offset < 2 * PART:
        async with await reopen(bucket_store) as sink:
            assert sink.offset == offset
            await sink.write([DATA[offset : offset + MIB]])
            offset = await sink.suspend()
        assert len(tail_keys(bucket_store)) == (1 if offset % PART else 0)
    await finish(bucket_store, 2 * PART, 2 * PART)


async def test_nothing_new_is_stored_if_nothing_came(bucket_store: LedgerStore) -> None:
    await interrupt(bucket_store, PART + 1000)
    before = tail_keys(bucket_store)
    async with await reopen(bucket_store) as sink:
        assert await sink.suspend() == PART + 1000
    assert tail_keys(bucket_store) == before
    await finish(bucket_store, PART + 1000)


@pytest.mark.parametrize("method", ["upload_part", "put"])
async def test_what_could_not_be_stored_is_not_kept(bucket_store: LedgerStore, method: str) -> None:
    def fail(call: Call, _key: str, *rest: Any) -> Any:  # noqa: ANN401
        if method == "put" or rest[1] == 2:
            raise StorageError("the bucket is on fire")
        return call()

    heal = fail_at(bucket_store, method, fail)
    async with await bucket_store.create("1", "a.bin", size=len(DATA)) as sink:
        if method == "put":
            await write(sink, DATA[: PART + 1000])
        else:
            with pytest.raises(StorageError, match="fire"):
                await write_all(sink, DATA)
        assert await sink.suspend() == sink.offset == PART
    heal()
    await finish(bucket_store, PART)


async def test_an_upload_of_which_nothing_could_be_stored_is_discarded(
    bucket_store: LedgerStore,
) -> None:
    def fail(_call: Call, *_: object) -> None:
        raise StorageError("the bucket is on fire")

    fail_at(bucket_store, "put", fail)
    async with await bucket_store.create("1", "a.bin", size=len(DATA)) as sink:
        await write(sink, DATA[:1000])
        with pytest.raises(StorageError, match="fire"):
            await sink.suspend()
    assert unfinished(bucket_store) == 0


async def test_the_tail_before_stays_if_a_new_one_cannot_be_stored(
    bucket_store: LedgerStore,
) -> None:
    await interrupt(bucket_store, 1000)

    def fail(_call: Call, *_: object) -> None:
        raise StorageError("the bucket is on fire")

    heal = fail_at(bucket_store, "put", fail)
    async with await reopen(bucket_store) as sink:
        await sink.write([DATA[1000:3000]])
        assert await sink.suspend() == 1000
    heal()
    await finish(bucket_store, 1000)


async def test_an_upload_whose_tail_is_gone_is_missing(bucket_store: LedgerStore) -> None:
    await interrupt(bucket_store, PART + 1000)
    (key,) = tail_keys(bucket_store)
    bucket_store.shared.client.delete(key)
    with pytest.raises(MissingError):
        await reopen(bucket_store)
    await bucket_store.drop("1")
    assert unfinished(bucket_store) == 0


async def test_a_tail_that_was_changed_is_not_used(bucket_store: LedgerStore) -> None:
    await interrupt(bucket_store, PART + 1000)
    (key,) = tail_keys(bucket_store)
    bucket_store.shared.client.put(key, bytes(1000), {}, new=False)
    async with await reopen(bucket_store) as sink:
        with pytest.raises(StorageError, match="is not what was stored"):
            await sink.make_ready()
    assert unfinished(bucket_store) == 0


async def test_an_upload_whose_parts_do_not_fit_into_the_memory_any_more_stays(
    bucket_store: LedgerStore,
) -> None:
    await interrupt(bucket_store, PART + 1000)
    before = bucket_store.shared
    bucket_store.shared = evolve(before, memory=memory(2 * PART - 1))
    with pytest.raises(StorageError, match=f"parts of {PART} bytes, for which chunks.memory is"):
        await reopen(bucket_store)
    bucket_store.shared = before
    await finish(bucket_store, PART + 1000)


async def test_an_upload_waits_for_late_parts_of_the_connection_before(
    bucket_store: LedgerStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sink_module, "SUSPEND_SECONDS", 0.5)
    released, ended = threading.Event(), threading.Event()

    def hang(call: Call, _key: str, _multipart: str, number: int, _body: object) -> Any:  # noqa: ANN401
        if number == 2:
            released.wait(30)
        try:
            return call()
        finally:
            if number == 2:
                ended.set()

    heal = fail_at(bucket_store, "upload_part", hang)
    assert await interrupt(bucket_store, 2 * PART + 5) == PART
    heal()
    with pytest.raises(StorageBusyError, match="on their way"):
        await reopen(bucket_store)
    released.set()
    await trio.to_thread.run_sync(ended.wait)
    await late_parts(bucket_store)
    await finish(bucket_store, PART)


# Names.


async def test_uploads_of_one_name_at_once_get_names_of_their_own(
    bucket_store: LedgerStore,
) -> None:
    names: dict[str, bytes] = {}

    async def upload(number: int) -> None:
        data = bytes([number]) * (PART + number)
        names[await put(bucket_store, data, f"u{number}")] = data

    async with trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(upload, number)
    assert set(names) == {"a.bin", "a (1).bin", "a (2).bin"}
    assert visible(bucket_store) == names


async def test_of_uploads_that_may_not_replace_one_gets_the_name(
    stores: Callable[[OnConflict], LedgerStore],
) -> None:
    store, refused = stores("reject"), list[str]()

    async def upload(upload: str) -> None:
        try:
            await put(store, DATA, upload)
        except ConflictError:
            refused.append(upload)

    async with trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(upload, f"u{number}")
    assert len(refused) == 2
    assert visible(store) == {"a.bin": DATA}
    assert unfinished(store) == 0


async def test_of_uploads_that_replace_the_last_one_stays(
    stores: Callable[[OnConflict], LedgerStore],
) -> None:
    store = stores("replace")
    async with await store.create("1", "a.bin", size=2 * PART) as first:
        await write(first, DATA[: 2 * PART])
        assert await put(store, DATA[:100], "2") == "a.bin"
        assert visible(store) == {"a.bin": DATA[:100]}
        assert (await first.commit()).name == "a.bin"
    assert visible(store) == {"a.bin": DATA[: 2 * PART]}


@pytest.mark.parametrize("size", [100, PART + 1])
@pytest.mark.parametrize("on_conflict", ["rename", "reject", "replace"])
async def test_an_object_that_the_ledger_does_not_know_has_its_name(
    stores: Callable[[OnConflict], LedgerStore], on_conflict: OnConflict, size: int
) -> None:
    store = stores(on_conflict)
    client, key = store.shared.client, store.shared.key("a.bin")
    client.put(key, b"theirs", {}, new=True)
    data = DATA[:size]
    match on_conflict:
        case "rename":
            assert await put(store, data) == "a (1).bin"
            assert visible(store) == {"a.bin": b"theirs", "a (1).bin": data}
        case "reject":
            with pytest.raises(ConflictError, match=r"a\.bin"):
                await put(store, data)
            assert visible(store) == {"a.bin": b"theirs"}
        case "replace":
            assert await put(store, data) == "a.bin"
            assert visible(store) == {"a.bin": data}
    assert unfinished(store) == 0


@pytest.mark.parametrize("size", [100, PART + 1])
async def test_an_object_that_comes_while_data_does_keeps_its_name(
    stores: Callable[[OnConflict], LedgerStore], size: int
) -> None:
    store = stores("reject")
    async with await store.create("1", "a.bin", size=size) as sink:
        store.shared.client.put(store.shared.key("a.bin"), b"theirs", {}, new=True)
        with pytest.raises(ConflictError, match=r"a\.bin"):
            await write_all(sink, DATA[:size])
    assert visible(store) == {"a.bin": b"theirs"}
    assert unfinished(store) == 0


@pytest.mark.parametrize("size", [100, PART + 1])
async def test_an_interrupted_upload_has_its_name(
    stores: Callable[[OnConflict], LedgerStore], size: int
) -> None:
    store = stores("reject")
    await interrupt(store, PART)
    with pytest.raises(ConflictError, match=r"an upload that has not ended has the name a\.bin"):
        await put(store, DATA[:size], "2")
    await store.drop("1")
    assert await put(store, DATA[:size], "2") == "a.bin"


# Answers that are lost.


def lost_after(error: StorageError, call: Call, *_: object) -> None:
    call()
    raise error


def lost_before(error: StorageError, _call: Call, *_: object) -> None:
    raise error


@pytest.mark.parametrize("error", [UncertainError("?"), NoSuchUploadError("gone")])
@pytest.mark.parametrize("method", ["complete", "put"])
async def test_a_file_whose_answer_was_lost_is_stored_if_it_is_there(
    bucket_store: LedgerStore, method: str, error: StorageError
) -> None:
    if method == "put" and isinstance(error, NoSuchUploadError):
        error = UncertainError("?")
    fail_at(bucket_store, method, partial(lost_after, error))
    data = DATA if method == "complete" else DATA[:1000]
    assert await put(bucket_store, data) == "a.bin"
    assert visible(bucket_store) == {"a.bin": data}
    assert unfinished(bucket_store) == 0


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("size", [1000, len(DATA)])
async def test_a_file_that_was_not_published_is_kept_and_published_later(
    bucket_store: LedgerStore, restart: Restart, size: int, *, restarted: bool
) -> None:
    store, method = bucket_store, "complete" if size > PART else "put"

    def lose(call: Call, key: str, *_: object) -> Any:  # noqa: ANN401
        if key.endswith("a.bin"):
            raise UncertainError("no answer")
        return call()

    heal = fail_at(store, method, lose)
    async with await store.create("1", "a.bin", size=size) as sink:
        await write(sink, DATA[:size])
        with pytest.raises(UncertainError, match="no answer"):
            await sink.commit()
        assert await sink.suspend() == size
    heal()
    if restarted:
        fresh = restart(store)
        assert isinstance(fresh, LedgerStore)
        store = fresh
        assert store.recover({"1": None}) == {"1": Recovered(size)}
        assert store.scan([]).names == {}
    await finish(store, size, size)


async def test_a_file_whose_answer_and_look_were_lost_is_published_once(
    bucket_store: LedgerStore, restart: Restart
) -> None:
    store = bucket_store
    fail_at(store, "complete", partial(lost_after, UncertainError("no answer")))
    heal = fail_at(store, "head", partial(lost_before, StorageError("not reachable")))
    async with await store.create("1", "a.bin", "replace", size=len(DATA)) as sink:
        await write(sink, DATA)
        with pytest.raises(StorageError, match="not reachable"):
            await sink.commit()
        assert await sink.suspend() == len(DATA)
    heal()
    fresh = restart(store)
    assert isinstance(fresh, LedgerStore)
    for _ in range(2):
        assert fresh.recover({"1": None}) == {"1": Recovered(len(DATA), "1")}
        assert fresh.scan(["1"]).names == {"1": "a.bin"}
    async with await reopen(fresh) as sink:
        assert (sink.offset, sink.check) == (len(DATA), sha1(DATA))
        assert (await sink.commit()).name == "a.bin"
    assert visible(fresh) == {"a.bin": DATA}
    assert fresh.scan([]).names == {}
    await fresh.drop("1")
    assert (visible(fresh), list(fresh.ledger.objects.all())) == ({}, []), "nobody was told of it"


async def test_an_upload_whose_parts_are_gone_is_discarded(bucket_store: LedgerStore) -> None:
    store = bucket_store
    async with await store.create("1", "a.bin", size=len(DATA)) as sink:
        await write(sink, DATA)
        await sink.prepare()
        ((key, multipart, _),) = store.shared.client.unfinished(store.shared.prefix)
        store.shared.client.abort(key, multipart)
        with pytest.raises(NoSuchUploadError):
            await sink.commit()
        with pytest.raises(StorageError):
            await sink.suspend()
    assert (visible(store), unfinished(store)) == ({}, 0)


@pytest.mark.parametrize("size", [10, PART])
async def test_an_upload_whose_parts_another_program_has_changed_begins_anew(
    bucket_store: LedgerStore, size: int
) -> None:
    store = bucket_store
    async with await store.create("1", "a.bin", size=len(DATA)) as sink:
        await write(sink, DATA)
        await sink.prepare()
        ((key, multipart, _),) = store.shared.client.unfinished(store.shared.prefix)
        store.shared.client.upload_part(key, multipart, 2, bytes(size))
        with pytest.raises(NoSuchUploadError, match="are not those that were sent"):
            await sink.commit()
        with pytest.raises(StorageError):
            await sink.suspend()
    assert (visible(store), unfinished(store)) == ({}, 0)
    assert await put(store, DATA, "2") == "a.bin"
    assert visible(store) == {"a.bin": DATA}


async def test_what_is_completed_must_be_there(bucket_store: LedgerStore) -> None:
    fail_at(bucket_store, "complete", lambda *_: None)
    async with await bucket_store.create("1", "a.bin", size=len(DATA)) as sink:
        await write(sink, DATA)
        with pytest.raises(StorageError, match="is not there although"):
            await sink.commit()
    assert (visible(bucket_store), unfinished(bucket_store)) == ({}, 0)


# Cancellation.


@pytest.mark.parametrize("size", [1000, len(DATA)])
async def test_a_file_that_is_being_published_is_published_although_it_is_cancelled(
    bucket_store: LedgerStore, size: int
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def wait(call: Call, *_: object) -> Any:  # noqa: ANN401
        begun.set()
        go_on.wait(30)
        return call()

    fail_at(bucket_store, "complete" if size > PART else "put", wait)
    published = list[str]()

    async def publish(scope: trio.CancelScope) -> None:
        with scope:
            async with await bucket_store.create("1", "a.bin", size=size) as sink:
                await write(sink, DATA[:size])
                published.append((await sink.commit()).name)

    scope = trio.CancelScope()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(publish, scope)
        await trio.to_thread.run_sync(begun.wait)
        scope.cancel()
        go_on.set()
    assert published == ["a.bin"]
    assert visible(bucket_store) == {"a.bin": DATA[:size]}


@pytest.mark.parametrize("method", ["create", "upload_part", "head"])
async def test_an_upload_that_is_cancelled_while_the_bucket_hangs_leaves_nothing(
    bucket_store: LedgerStore, method: str
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def hang(call: Call, *_: object) -> Any:  # noqa: ANN401
        begun.set()
        go_on.wait(30)
        return call()

    heal = fail_at(bucket_store, method, hang)

    async def upload(scope: trio.CancelScope) -> None:
        with scope:
            await put(bucket_store, DATA)

    scope = trio.CancelScope()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(upload, scope)
        await trio.to_thread.run_sync(begun.wait)
        scope.cancel()
    heal()
    assert await bucket_store.ledger.objects.get("1") is None
    go_on.set()
    await late_parts(bucket_store)
    assert visible(bucket_store) == {}


async def test_an_upload_ends_although_the_bucket_does_not_abort_it(
    bucket_store: LedgerStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("galileod.storage.s3.removal.CLEANUP_SECONDS", 0.2)
    go_on = threading.Event()
    fail_at(bucket_store, "abort", lambda *_: go_on.wait(30))
    async with await bucket_store.create("1", "a.bin", size=len(DATA)) as sink:
        await write(sink, DATA[: PART + 1])
    assert await bucket_store.ledger.objects.get("1") is None
    assert unfinished(bucket_store) == 1, "the sweeper aborts it"
    go_on.set()
