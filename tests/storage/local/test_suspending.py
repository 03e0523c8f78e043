"""Suspended files: opening them again, what is remembered of them, and what fails."""

import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
import trio.testing
from helpers.disk import CountingOs, descriptors, faulty, nth, put_into_place
from helpers.local_store import DATA, open_local, put, spool, visible
from helpers.mounts import tmpfs
from structlog.testing import capture_logs
from trio.testing import MockClock

from galileod.policy.publication import Durability, OnConflict
from galileod.storage.base import SUSPEND_SECONDS
from galileod.storage.errors import MissingError, NoSpaceError, StorageError
from galileod.storage.local import LocalStore, spoolfile, suspended
from galileod.storage.local.sink import LocalSink
from galileod.storage.local.timing import Timings

pytestmark = [pytest.mark.timeout(30), pytest.mark.by_sink]

OpenStore = Callable[..., LocalStore]


def sha1(data: bytes) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


async def suspend(store: LocalStore, data: bytes = DATA[:1000], path: str = "a.bin") -> None:
    async with await store.create("1", path) as sink:
        await sink.write([data])
        await sink.suspend()


async def reopen(
    store: LocalStore, path: str = "a.bin", on_conflict: OnConflict = "rename"
) -> LocalSink:
    return await store.reopen("1", path, on_conflict, store._settings.durability)


async def test_a_suspended_file_has_a_name_in_the_spool_and_no_descriptor(
    open_store: OpenStore, directory: Path
) -> None:
    store = open_store()
    before = descriptors()
    await suspend(store)
    assert spool(directory) == ["1"]
    assert descriptors() == before
    async with await reopen(store) as sink:
        await sink.write([DATA[1000:]])
        await sink.commit()
    assert visible(directory) == {"a.bin": DATA}
    assert descriptors() == before


async def test_what_is_remembered_is_not_read_back(open_store: OpenStore) -> None:
    store = open_store()
    await suspend(store)
    with faulty("pread", nth(1)):
        async with await reopen(store) as sink:
            await sink.catch_up()
            await sink.write([DATA[1000:]])
            assert await sink.digest("sha1") == sha1(DATA)
            await sink.commit()


async def test_of_the_files_that_are_remembered_the_oldest_is_forgotten_and_read_back(
    open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suspended, "MAX_NAMED", 2)
    store = open_store()
    for upload in ("1", "2", "3"):
        async with await store.create(upload, "a.bin") as sink:
            await sink.write([DATA[:1000]])
            await sink.suspend()
    for upload, known in (("1", None), ("2", sha1(DATA[:1000])), ("3", sha1(DATA[:1000]))):
        async with await store.reopen(upload, "a.bin", "rename", "full") as sink:
            assert (sink.offset, sink.check) == (1000, known)
            await sink.catch_up()
            assert sink.check == sha1(DATA[:1000])


@pytest.mark.parametrize("content", [b"", DATA[:999], DATA[:1000] + b"strange"])
async def test_a_file_that_another_program_has_changed_goes_on_with_what_can_be_right(
    open_store: OpenStore, directory: Path, content: bytes
) -> None:
    store = open_store()
    await suspend(store)
    (directory / ".galileod/spool/1").write_bytes(content)
    offset = min(len(content), 1000)
    async with await reopen(store) as sink:
        assert sink.offset == offset
        assert sink.check in (None, sha1(b""))
        await sink.write([DATA[offset : offset + 5]])
        assert await sink.digest("sha1") == sha1(DATA[: offset + 5])
        await sink.commit()
    assert visible(directory) == {"a.bin": DATA[: offset + 5]}


async def test_a_file_that_another_program_has_written_to_is_read_back(
    open_store: OpenStore, directory: Path
) -> None:
    store = open_store()
    await suspend(store)
    (directory / ".galileod/spool/1").write_bytes(bytes(1000))
    async with await reopen(store) as sink:
        assert (sink.offset, sink.check) == (1000, None)
        assert await sink.digest("sha1") == sha1(bytes(1000))


@pytest.mark.parametrize("kind", ["nothing", "link", "directory", "fifo", "second name", "others"])
async def test_what_is_not_the_file_of_the_upload_is_not_opened(
    open_store: OpenStore, directory: Path, kind: str
) -> None:
    store = open_store()
    await suspend(store)
    path, target = directory / ".galileod/spool/1", directory / "target"
    target.write_bytes(b"theirs")
    if kind not in {"second name", "others"}:
        path.unlink()
    match kind:
        case "link":
            path.symlink_to(target)
        case "directory":
            path.mkdir()
        case "fifo":
            os.mkfifo(path)
        case "second name":
            target.unlink()
            target.hardlink_to(path)
        case "others":
            if os.geteuid() != 0:
                pytest.skip("giving a file away needs root")
            os.chown(path, 12345, -1)
    before, content = descriptors(), target.read_bytes()
    with pytest.raises(MissingError):
        await reopen(store)
    assert descriptors() == before
    assert target.read_bytes() == content


@pytest.mark.parametrize("function", ["open", "fstat", "lseek"])
async def test_a_file_that_cannot_be_opened_again_now_may_be_later(
    open_store: OpenStore, directory: Path, function: str
) -> None:
    store = open_store()
    await suspend(store)
    before = descriptors()
    with faulty(function, nth(2 if function == "fstat" else 1)) as disk:
        with pytest.raises(StorageError) as failed:
            await reopen(store)
        assert disk.reached
    assert not isinstance(failed.value, MissingError)
    assert descriptors() == before
    async with await reopen(store) as sink:
        await sink.write([DATA[1000:]])
        await sink.commit()
    assert visible(directory) == {"a.bin": DATA}


@pytest.mark.parametrize("step", ["checkpoint", "suspend", "prepare"])
@pytest.mark.parametrize(("function", "call"), [("fdatasync", 1), ("fsync", 1)])
async def test_data_that_an_fsync_has_lost_is_never_trusted_again(
    open_store: OpenStore, directory: Path, step: str, function: str, call: int
) -> None:
    store = open_store()
    before = descriptors()
    async with await store.create("1", "a.bin") as sink:
        await sink.write([DATA])
        with faulty(function, nth(call)) as disk:
            with pytest.raises(StorageError, match="durable"):
                await sink.checkpoint()
            assert disk.calls == call
        for _ in range(2):
            with faulty("", range(0)), pytest.raises(StorageError, match="fsync of it has failed"):
                await getattr(sink, step)()
    assert spool(directory) == []
    assert visible(directory) == {}
    assert descriptors() == before
    with pytest.raises(MissingError):
        await reopen(store)


@pytest.mark.parametrize("function", ["fdatasync", "fsync"])
async def test_a_file_whose_data_cannot_be_made_durable_is_not_suspended(
    open_store: OpenStore, directory: Path, function: str
) -> None:
    store = open_store()
    async with await store.create("1", "a.bin") as sink:
        await sink.write([DATA])
        with faulty(function, nth(1)), pytest.raises(StorageError, match="durable"):
            await sink.suspend()
        assert spool(directory) == ["1"]
    assert spool(directory) == []


async def test_a_file_whose_last_fsync_has_failed_is_not_suspended(
    open_store: OpenStore, directory: Path
) -> None:
    store = open_store()
    async with await store.create("1", "a.bin") as sink:
        await sink.write([DATA])
        with faulty("fsync", nth(1)), pytest.raises(StorageError, match="durable"):
            await sink.prepare()
        with pytest.raises(StorageError, match="fsync of it has failed"):
            await sink.suspend()
    assert spool(directory) == []


@pytest.mark.parametrize("on_conflict", ["rename", "replace"])
@pytest.mark.parametrize("renames", [True, False])
async def test_a_file_that_had_its_name_already_is_not_suspended(
    open_store: OpenStore, directory: Path, on_conflict: OnConflict, renames: bool
) -> None:
    store = open_store(on_conflict)
    store._spool.renames = renames
    async with await store.create("1", "a.bin") as sink:
        await sink.write([DATA])
        await sink.prepare()
        with faulty("fsync", nth(1)), pytest.raises(StorageError, match="name durable"):
            await sink.commit()
        with pytest.raises(StorageError, match="was published"):
            await sink.suspend()
    assert spool(directory) == []
    assert visible(directory) == ({"a.bin": DATA} if on_conflict == "replace" else {})


async def test_a_file_that_another_program_has_removed_is_not_suspended(
    open_store: OpenStore, directory: Path
) -> None:
    store = open_store()
    async with await store.create("1", "a.bin") as sink:
        await sink.write([DATA])
        (directory / ".galileod/spool/1").unlink()
        with pytest.raises(StorageError, match="has removed the file"):
            await sink.suspend()


@pytest.mark.parametrize(
    ("durability", "calls"),
    [("full", {"fdatasync": 2, "fsync": 1}), ("none", {"fdatasync": 0, "fsync": 0})],
)
async def test_a_checkpoint_syncs_what_is_new_and_the_name_once(
    directory: Path, durability: Durability, calls: dict[str, int]
) -> None:
    told: dict[str, list[float]] = {"file": [], "directory": []}
    timings = Timings(fsync_file=told["file"].append, fsync_directory=told["directory"].append)
    store = open_local(directory, durability=durability, timings=timings)
    for function, times in calls.items():
        with faulty(function, range(0)) as disk:
            async with await store.create("1", "a.bin") as sink:
                await sink.checkpoint()
                await sink.write([DATA[:1000]])
                await sink.checkpoint()
                await sink.checkpoint()
                await sink.write([DATA[1000:]])
                await sink.suspend()
            async with await reopen(store) as sink:
                assert await sink.checkpoint() == (len(DATA) if durability == "full" else 0)
        assert disk.calls == times
    assert len(told["file"]) == 2 * calls["fdatasync"]
    assert len(told["directory"]) == 2 * calls["fsync"]
    store.close()


async def test_a_checkpoint_does_not_wait_for_a_write_nor_the_write_for_it(
    open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, goes_on = threading.Event(), threading.Event()
    real = os.fdatasync

    def slow(fd: int) -> None:
        began.set()
        goes_on.wait(20)
        real(fd)

    monkeypatch.setattr(os, "fdatasync", slow)
    durable = []
    async with await open_store().create("1", "a.bin") as sink:
        await sink.write([DATA[:1000]])

        async def checkpoint() -> None:
            durable.append(await sink.checkpoint())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(checkpoint)
            await trio.to_thread.run_sync(began.wait, 20)
            await sink.write([DATA[1000:]])
            goes_on.set()
        assert durable == [1000]


async def test_a_disk_that_hangs_fails_the_suspension_in_time(
    mock_clock: MockClock,
    open_store: OpenStore,
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    began, goes_on = threading.Event(), threading.Event()

    def hang(_fd: int) -> None:
        began.set()
        goes_on.wait(20)

    monkeypatch.setattr(os, "fdatasync", hang)
    store = open_store()
    before = descriptors()
    failed = []
    async with await store.create("1", "a.bin") as sink:
        await sink.write([DATA])

        async def suspend() -> None:
            with pytest.raises(StorageError, match="does not respond"):
                await sink.suspend()
            failed.append(trio.current_time())
            goes_on.set()

        began_at = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(suspend)
            await trio.to_thread.run_sync(began.wait, 20)
            mock_clock.jump(SUSPEND_SECONDS - 1)
            await trio.testing.wait_all_tasks_blocked()
            assert not failed
            mock_clock.jump(1)
        assert failed == [began_at + SUSPEND_SECONDS]
    assert spool(directory) == []
    assert descriptors() == before
    with pytest.raises(MissingError):
        await reopen(store)


@pytest.mark.parametrize("most", [1, 7, 999])
async def test_a_write_that_fails_half_way_leaves_the_bytes_that_were_written(
    open_store: OpenStore, directory: Path, most: int
) -> None:
    store = open_store()
    async with await store.create("1", "a.bin") as sink:
        await sink.write([DATA[:500]])
        with pytest.MonkeyPatch.context() as patch:
            put_into_place(patch, CountingOs(most, "writev", nth(3)))
            with pytest.raises(NoSpaceError):
                await sink.write([DATA[500:700], DATA[700:]])
        offset = 500 + 2 * most
        assert (sink.offset, sink.check) == (offset, None)
        await sink.suspend()
    async with await reopen(store) as sink:
        assert (sink.offset, sink.check) == (offset, None)
        await sink.catch_up()
        assert sink.check == sha1(DATA[:offset])
        await sink.write([DATA[offset:]])
        assert sink.check == sha1(DATA)
        await sink.commit()
    assert visible(directory) == {"a.bin": DATA}


async def test_an_upload_goes_on_once_a_full_disk_has_room_again(
    open_store: OpenStore, directory: Path
) -> None:
    content = os.urandom(600_000)
    with tmpfs(directory, "size=1m"):
        filler = directory / "filler"
        store = open_store(on_conflict="reject")
        async with await store.create("1", "a.bin") as sink:
            await sink.write([content[:300_000]])
            filler.write_bytes(bytes(2**20 - 300_000 - 150_000))
            with pytest.raises(NoSpaceError):
                await sink.write([content[300_000:]])
            offset = sink.offset
            assert 300_000 < offset < len(content)
            await sink.suspend()
        filler.unlink()
        async with await reopen(store) as sink:
            assert sink.offset == offset
            await sink.write([content[offset:]])
            assert await sink.digest("sha1") == sha1(content)
            await sink.commit()
        assert visible(directory) == {"a.bin": content}
        store.close()


async def test_the_hash_is_level_with_a_write_that_ends_after_all_before_it_was_read_back(
    open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store()
    await suspend(store)
    store._suspended.forget("1")
    began, goes_on = threading.Event(), threading.Event()
    real = os.writev

    def slow(fd: int, pieces: list[memoryview]) -> int:
        written = real(fd, pieces)
        began.set()
        goes_on.wait(20)
        return written

    monkeypatch.setattr(os, "writev", slow)
    async with await reopen(store) as sink:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sink.write, [DATA[1000:2000], DATA[2000:]])
            await trio.to_thread.run_sync(began.wait, 20)
            await sink.catch_up()
            assert (sink.offset, sink.check) == (1000, sha1(DATA[:1000]))
            goes_on.set()
        assert (sink.offset, sink.check) == (len(DATA), sha1(DATA))


async def test_reading_back_can_be_cancelled_and_goes_on_later(
    open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spoolfile, "READ_BACK", 1000)
    store = open_store()
    await suspend(store, DATA)
    store._suspended.forget("1")
    steps, at = [], 2
    scope = trio.CancelScope()
    real = os.pread

    def pread(fd: int, length: int, position: int) -> bytes:
        steps.append((length, position))
        if len(steps) == at:
            trio.from_thread.run_sync(scope.cancel)
        return real(fd, length, position)

    monkeypatch.setattr(os, "pread", pread)
    async with await reopen(store) as sink:
        with scope:
            await sink.catch_up()
        assert scope.cancelled_caught
        assert (len(steps), sink.check) == (at, None)
        await sink.catch_up()
        assert sink.check == sha1(DATA)
    assert steps == [
        (min(1000, len(DATA) - position), position) for position in range(0, len(DATA), 1000)
    ]


async def test_a_file_that_is_shorter_than_written_cannot_be_read_back(
    open_store: OpenStore, directory: Path
) -> None:
    store = open_store()
    await suspend(store)
    store._suspended.forget("1")
    async with await reopen(store) as sink:
        os.truncate(directory / ".galileod/spool/1", 10)
        for step in (sink.catch_up, lambda: sink.digest("sha1"), lambda: sink.digest("sha256")):
            with pytest.raises(StorageError, match="shorter than written"):
                await step()


async def test_dropping_never_fails_and_tells_what_it_left(
    open_store: OpenStore, directory: Path
) -> None:
    store = open_store()
    await suspend(store)
    with faulty("unlink", nth(1)), capture_logs() as logs:
        await store.drop("1")
    assert [(line["event"], line["path"]) for line in logs] == [("storage.leftover", "1")]
    await store.drop("1")
    assert spool(directory) == []
    with capture_logs() as logs:
        await store.drop("1")
    assert logs == []


async def test_a_small_upload_opens_and_syncs_nothing_more_than_before(
    open_store: OpenStore,
) -> None:
    store = open_store()
    for function, calls in {"open": 2, "fsync": 2, "fdatasync": 0, "lseek": 0}.items():
        with faulty(function, range(0)) as disk:
            await put(store)
        assert (function, disk.calls) == (function, calls)
