"""Batches of complete files in a local store: each is stored, or fails, apart from the others."""

import errno
import hashlib
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import trio
from helpers.disk import CountingOs, FaultyOs, descriptors, faulty, nth, put_into_place
from helpers.local_store import DATA, listed, open_local, spool, visible
from helpers.mounts import tmpfs
from helpers.watching import CLOSE_WRITE, MOVED_TO, watching
from structlog.testing import capture_logs

from galileod.policy.publication import Durability, OnConflict
from galileod.storage.base import Store, Stored
from galileod.storage.errors import BadNameError, ConflictError, NoSpaceError, StorageError
from galileod.storage.local import LocalStore, folders
from galileod.storage.local.target import check_existing
from galileod.storage.local.timing import Timings
from galileod.storage.whole import WholeFile, Written

pytestmark = [pytest.mark.timeout(30), pytest.mark.by_sink]

OpenStore = Callable[..., LocalStore]


def file(
    number: int,
    path: str | None = None,
    on_conflict: OnConflict = "rename",
    durability: Durability = "full",
) -> WholeFile:
    return WholeFile(
        str(number), path or f"{number}.bin", content(number), ("sha256",), on_conflict, durability
    )


def content(number: int) -> list[bytes]:
    return [b"%d " % number, b"", DATA]


def data(number: int) -> bytes:
    return b"".join(content(number))


async def written(store: Store, files: Sequence[WholeFile]) -> list[Written]:
    results = await store.write_whole(files)
    assert not [one for one in results if isinstance(one, StorageError)]
    return [one for one in results if isinstance(one, Written)]


async def stored(store: Store, files: Sequence[WholeFile]) -> list[str]:
    results = await store.publish_whole(await written(store, files))
    return [one.name if isinstance(one, Stored) else str(one) for one in results]


@pytest.mark.parametrize("durability", ["full", "none"])
@pytest.mark.parametrize("count", [0, 1, 7, 8, 30])
async def test_a_batch_is_hashed_and_stored_in_its_order(
    open_store: OpenStore, directory: Path, count: int, durability: Durability
) -> None:
    store, before = open_store(), descriptors()
    files = [file(number, durability=durability) for number in range(count)]
    batch = await written(store, files)
    for number, one in enumerate(batch):
        assert one.digests == {
            kind: hashlib.new(kind, data(number)).hexdigest() for kind in ("sha1", "sha256")
        }
    assert sorted(spool(directory)) == sorted(one.upload for one in files)
    assert visible(directory) == {}
    assert descriptors() == before
    identities = [one.identity for one in batch]
    results = await store.publish_whole(batch)
    assert [one.name for one in results if isinstance(one, Stored)] == [one.path for one in files]
    assert visible(directory) == {one.path: data(number) for number, one in enumerate(files)}
    assert store.scan(identities).names == {
        one: file.path for one, file in zip(identities, files, strict=True)
    }
    assert spool(directory) == []
    assert descriptors() == before


async def test_files_of_one_name_are_numbered_in_their_order(open_store: OpenStore) -> None:
    store = open_store()
    names = await stored(store, [file(number, "anna/a.bin") for number in range(3)])
    assert names == ["anna/a.bin", "anna/a (1).bin", "anna/a (2).bin"]


async def test_each_file_has_its_own_policy(open_store: OpenStore, directory: Path) -> None:
    store = open_store("reject")
    names = await stored(
        store,
        [
            file(0, "a"),
            file(1, "a", "replace", "none"),
            file(2, "a", "rename"),
            file(3, "a", "reject", "none"),
        ],
    )
    assert names == ["a", "a", "a (1)", "a file named a exists already"]
    assert visible(directory) == {"a": data(1), "a (1)": data(2)}
    assert spool(directory) == []


async def test_what_a_folder_refuses_fails_only_the_files_that_go_there(
    open_store: OpenStore, directory: Path
) -> None:
    store, before = open_store(), descriptors()
    (directory / "file").write_bytes(b"")
    (directory / "taken").write_bytes(b"")
    (directory / "folder").mkdir()
    files = [
        file(0, "anna/a"),
        file(1, "file/a"),
        file(2, "file/b"),
        file(3, "anna/" + "n" * 256),
        file(4, "taken", "reject"),
        file(5, "folder", "replace"),
        file(6, "anna/b"),
    ]
    results = await store.write_whole(files)
    expected = [
        None,
        ConflictError,
        ConflictError,
        BadNameError,
        ConflictError,
        ConflictError,
        None,
    ]
    assert [type(one) if isinstance(one, StorageError) else None for one in results] == expected
    assert results[1] is not results[2], "each may be raised by another task"
    assert sorted(spool(directory)) == ["0", "6"]
    assert descriptors() == before
    await store.discard_whole([one for one in results if isinstance(one, Written)])
    assert spool(directory) == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize(("function", "calls"), [("open", 3), ("writev", 3), ("fsync", 3)])
async def test_a_step_that_fails_fails_its_file_alone(
    open_store: OpenStore, directory: Path, function: str, calls: int, code: int
) -> None:
    store = open_store()
    before = descriptors()
    for call in range(1, calls + 1):
        with faulty(function, nth(call), code) as disk:
            results = await store.write_whole([file(number) for number in range(3)])
        assert disk.calls == calls, "what failed was tried again"
        (failed,) = [one for one in results if isinstance(one, StorageError)]
        assert type(failed) is (StorageError if code == errno.EIO else NoSpaceError)
        assert os.strerror(code) in str(failed)
        assert len(spool(directory)) == 2
        assert descriptors() == before
        good = [one for one in results if isinstance(one, Written)]
        assert all(isinstance(one, Stored) for one in await store.publish_whole(good))
        assert len(visible(directory)) == 2
        assert spool(directory) == []
        for name in visible(directory):
            (directory / name).unlink()


@pytest.mark.parametrize("call", [1, 2, 3])
async def test_a_file_that_cannot_be_renamed_is_discarded_alone(
    open_store: OpenStore, directory: Path, call: int
) -> None:
    store = open_store()
    batch = await written(store, [file(number) for number in range(3)])
    with faulty("rename_noreplace", nth(call)) as disk:
        results = await store.publish_whole(batch)
    assert disk.calls == 3
    assert [isinstance(one, StorageError) for one in results] == [
        number == call for number in (1, 2, 3)
    ]
    assert len(visible(directory)) == 2
    assert spool(directory) == []


async def test_if_a_folder_cannot_be_synced_only_files_in_it_fail(
    open_store: OpenStore, directory: Path
) -> None:
    store = open_store()
    files = [
        file(0, "anna/a"),
        file(1, "anna/b", durability="none"),
        file(2, "anna/c", "replace"),
        file(3, "d"),
    ]
    batch = await written(store, files)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folders, "os", FaultyOs("fsync", nth(1), errno.EIO))
        results = await store.publish_whole(batch)
    assert [isinstance(one, Stored) for one in results] == [False, True, False, True]
    # A file that may have replaced another one stays.
    assert set(listed(store)) == {"anna/b", "anna/c", "d"}
    assert spool(directory) == []


async def test_a_fsync_of_the_directory_that_fails_withdraws_what_was_to_be_durable(
    open_store: OpenStore, directory: Path
) -> None:
    store = open_store()
    files = [file(0), file(1, durability="none"), file(2, on_conflict="replace")]
    batch = await written(store, files)
    with faulty("fsync", nth(1)) as disk, capture_logs() as logs:
        results = await store.publish_whole(batch)
    assert disk.calls == 1
    assert [isinstance(one, Stored) for one in results] == [False, True, False]
    assert "cannot make the file's name durable" in str(results[0])
    # A file that may have replaced another one stays.
    assert visible(directory) == {"1.bin": data(1), "2.bin": data(2)}
    assert spool(directory) == []
    assert logs == []


async def test_every_file_is_synced_before_it_has_its_name_and_each_folder_after(
    open_store: OpenStore, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store()
    (directory / "anna").mkdir()
    await stored(store, [file(9, "anna/known")])
    calls: list[tuple[str, str]] = []

    def note(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            named = os.readlink(f"/proc/self/fd/{args[0]}") if name == "fsync" else args[0]
            calls.append((name, os.path.basename(named)))
            return original(*args, **kwargs)

        return call

    for function in ("fsync", "rename"):
        monkeypatch.setattr(os, function, note(function, getattr(os, function)))
    files = [file(number, f"anna/{number}.bin", "replace") for number in range(20)]
    batch = await written(store, files)
    synced = {name for step, name in calls if step == "fsync"}
    assert synced == {one.upload for one in files}
    calls.clear()
    await store.publish_whole(batch)
    renamed = [(step, name) for step, name in calls if name != "."]
    assert renamed == [*(("rename", one.upload) for one in files), ("fsync", "anna")]


async def test_a_batch_without_durability_syncs_nothing(open_store: OpenStore) -> None:
    store = open_store()
    with faulty("fsync", range(0)) as disk:
        await stored(store, [file(number, durability="none") for number in range(5)])
    assert disk.calls == 0


class Counting(FaultyOs):
    """Counts the calls that may be system calls."""

    def __init__(self) -> None:
        super().__init__("", range(0), 0)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        original = super().__getattr__(name)
        if not callable(original) or name in {"fsencode", "fsdecode"}:
            return original

        def call(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            self.calls += 1
            return original(*args, **kwargs)

        return call


async def test_a_further_file_of_a_batch_takes_five_system_calls(open_store: OpenStore) -> None:
    store, counts = open_store(), list[int]()
    for count in (10, 20):
        files = [file(count * 10 + number, durability="none") for number in range(count)]
        with pytest.MonkeyPatch.context() as patch:
            disk = Counting()
            put_into_place(patch, disk)
            await stored(store, files)
        counts.append(disk.calls)
    assert counts[1] - counts[0] == 10 * len(["open", "writev", "fstat", "close", "rename"])


async def test_a_disk_that_takes_little_at_a_time_gets_all(
    open_store: OpenStore, directory: Path
) -> None:
    store = open_store()
    with pytest.MonkeyPatch.context() as patch:
        put_into_place(patch, CountingOs(1000))
        await stored(store, [file(0), file(1)])
    assert visible(directory) == {"0.bin": data(0), "1.bin": data(1)}


async def test_a_file_that_was_removed_from_the_spool_fails_alone_and_says_so(
    open_store: OpenStore, directory: Path
) -> None:
    store = open_store()
    batch = await written(store, [file(0), file(1)])
    (directory / ".galileod/spool/0").unlink()
    first, second = await store.publish_whole(batch)
    assert "removed the file from the spool" in str(first)
    assert isinstance(second, Stored)


async def test_a_spool_that_was_removed_is_made_anew(
    open_store: OpenStore, directory: Path
) -> None:
    store = open_store()
    (directory / ".galileod/spool").rmdir()
    assert await stored(store, [file(0)]) == ["0.bin"]


async def test_a_file_is_published_or_discarded_once(
    open_store: OpenStore, directory: Path
) -> None:
    store = open_store()
    batch = await written(store, [file(0), file(1)])
    await store.discard_whole(batch[:1])
    first, second, again = await store.publish_whole([*batch, batch[1]])
    assert "published or discarded" in str(first)
    assert isinstance(second, Stored)
    assert "published or discarded" in str(again)
    # Another upload has the name in the spool meanwhile.
    await written(store, [file(1, "late.bin")])
    await store.discard_whole(batch)
    assert visible(directory) == {"1.bin": data(1)}
    assert spool(directory) == ["1"]


async def test_watchers_see_each_file_once_and_complete(
    open_store: OpenStore, directory: Path
) -> None:
    store = open_store()
    with watching(directory) as watch:
        batch = await written(store, [file(number) for number in range(5)])
        assert watch.events() == []
        await store.publish_whole(batch)
        assert watch.events() == [(MOVED_TO, f"{number}.bin") for number in range(5)]


async def test_files_for_other_filesystems_are_stored_with_the_rest(
    open_store: OpenStore, directory: Path
) -> None:
    store, before = open_store(), descriptors()
    with tmpfs(directory / "anna", "size=1m") as folder:
        files = [file(0), file(1, "anna/1.bin"), file(2), file(3, "anna/1.bin")]
        files.append(WholeFile("4", "anna/4.bin", [bytes(2**20)], (), "rename", "full"))
        with watching(folder) as watch:
            results = await store.write_whole(files)
            assert isinstance(results[4], NoSpaceError)
            assert watch.events() == []
            batch = [one for one in results if isinstance(one, Written)]
            assert batch[1].digests["sha256"] == hashlib.sha256(data(1)).hexdigest()
            names = [
                one.name for one in await store.publish_whole(batch) if isinstance(one, Stored)
            ]
            assert names == ["0.bin", "anna/1.bin", "2.bin", "anna/1 (1).bin"]
            assert watch.events()[-1] == (CLOSE_WRITE, "1 (1).bin")
        assert (folder / "1.bin").read_bytes() == data(1)
        assert store.scan([batch[1].identity]).names == {batch[1].identity: "anna/1.bin"}
        discarded = await written(store, [file(5, "anna/5.bin")])
        await store.discard_whole(discarded)
        assert descriptors() == before


async def test_a_filesystem_that_is_mounted_between_gets_a_copy(
    open_store: OpenStore, directory: Path
) -> None:
    store, before = open_store(), descriptors()
    batch = await written(store, [file(0), file(1, "anna/1.bin"), file(2)])
    with tmpfs(directory / "anna") as folder:
        results = await store.publish_whole(batch)
        assert [one.name for one in results if isinstance(one, Stored)] == [
            "0.bin", "anna/1.bin", "2.bin",
        ]  # fmt: skip
        assert (folder / "1.bin").read_bytes() == data(1)
        assert spool(directory) == []
        assert descriptors() == before


async def test_where_files_are_linked_each_is_stored(
    open_store: OpenStore, directory: Path
) -> None:
    store = open_store()
    store._spool.renames = False
    assert await stored(store, [file(0), file(1, "0.bin")]) == ["0.bin", "0 (1).bin"]
    batch = await written(store, [file(2)])
    await store.discard_whole(batch)
    assert spool(directory) == []


async def test_renaming_that_stops_working_is_made_up_for_by_links(
    open_store: OpenStore, directory: Path
) -> None:
    store = open_store()
    batch = await written(store, [file(0), file(1)])
    store._spool.renames = False
    assert all(isinstance(one, Stored) for one in await store.publish_whole(batch))
    assert visible(directory) == {"0.bin": data(0), "1.bin": data(1)}
    assert spool(directory) == []


async def test_a_batch_that_is_cancelled_before_it_began_leaves_nothing(
    open_store: OpenStore, directory: Path
) -> None:
    store = open_store()
    with trio.CancelScope() as scope:
        scope.cancel()
        await store.write_whole([file(0)])
    assert spool(directory) == []
    batch = await written(store, [file(0), file(1)])
    with trio.CancelScope() as scope:
        scope.cancel()
        await store.publish_whole(batch)
    assert visible(directory) == {}
    with trio.CancelScope() as scope:
        scope.cancel()
        await store.discard_whole(batch)
    assert spool(directory) == []


async def test_a_hash_that_does_not_exist_leaves_nothing(
    open_store: OpenStore, directory: Path
) -> None:
    store, before = open_store(), descriptors()
    with tmpfs(directory / "anna"):
        odd = WholeFile("3", "c.bin", [DATA], ("odd",), "rename", "full")
        with pytest.raises(ValueError, match="odd"):
            await store.write_whole([file(0), file(1, "anna/b.bin"), odd])
        assert spool(directory) == []
        assert descriptors() == before


async def test_the_times_of_a_batch_are_told_step_by_step(directory: Path) -> None:
    told: dict[str, list[float]] = {"write": [], "file": [], "directory": []}
    store = open_local(directory, timings=Timings(*(times.append for times in told.values())))
    await stored(store, [file(0), file(1, durability="none"), file(2)])
    store.close()
    assert {step: len(times) for step, times in told.items()} == {
        "write": 3, "file": 2, "directory": 1,
    }  # fmt: skip


async def test_many_batches_at_once_store_all(open_store: OpenStore, directory: Path) -> None:
    store = open_store()

    async def batch(turn: int) -> None:
        numbers = range(turn * 100, turn * 100 + 20)
        await stored(store, [file(number, "a.bin") for number in numbers])

    with trio.fail_after(25):
        async with trio.open_nursery() as nursery:
            for turn in range(8):
                nursery.start_soon(batch, turn)
    assert len(visible(directory)) == 160
    assert sorted(visible(directory).values()) == sorted(
        data(turn * 100 + number) for turn in range(8) for number in range(20)
    )
    assert spool(directory) == []


async def test_a_batch_that_hangs_does_not_hold_up_the_others(
    open_store: OpenStore, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, begun, end = open_store(), threading.Event(), threading.Event()

    def hang(folder: folders.Folder, name: str, on_conflict: OnConflict) -> None:
        if name == "hangs.bin":
            begun.set()
            end.wait()
        check_existing(folder, name, on_conflict)

    monkeypatch.setattr("galileod.storage.local.batchwrite.check_existing", hang)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stored, store, [file(0, "hangs.bin")])
        try:
            await trio.to_thread.run_sync(begun.wait)
            assert await stored(store, [file(1), file(2)]) == ["1.bin", "2.bin"]
        finally:
            end.set()
    assert visible(directory).keys() == {"hangs.bin", "1.bin", "2.bin"}
