"""A disk that fails at one step: the upload fails, and nothing is left."""

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
import trio.lowlevel
from helpers.disk import CountingOs, descriptors, faulty, nth, put_into_place
from helpers.local_store import DATA, opened, put, spool, visible
from structlog.testing import capture_logs

from galileod.policy.publication import OnConflict
from galileod.storage.errors import NoSpaceError, StorageError
from galileod.storage.local import LocalStore

pytestmark = [pytest.mark.timeout(20), pytest.mark.by_sink]

OpenStore = Callable[..., LocalStore]


# The steps of an upload that can fail, and how often each is taken.
STEPS = {
    "open": 1,
    "writev": 2,
    "pread": 1,
    "fchmod": 1,
    "fsync": 2,
    "rename_noreplace": 1,
    "rename": 1,
}
# Further calls, whose failure does not matter.
TOLERATED = {"open": 1}


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize(
    ("on_conflict", "function"),
    [
        *(("rename", function) for function in STEPS if function != "rename"),
        *(("replace", function) for function in STEPS if function != "rename_noreplace"),
    ],
)
async def test_a_step_that_fails_fails_the_upload_and_leaves_nothing(
    open_store: OpenStore,
    directory: Path,
    on_conflict: OnConflict,
    function: str,
    code: int,
) -> None:
    store = open_store(on_conflict)
    before = descriptors()
    for call in range(1, STEPS[function] + 1):
        expected = StorageError if code == errno.EIO else NoSpaceError
        with faulty(function, nth(call), code) as disk, pytest.raises(StorageError) as failed:
            await put(store)
        assert type(failed.value) is expected
        assert os.strerror(code) in str(failed.value)
        assert disk.calls == call, "what failed was tried again"
        # A file that took another one's place stays when only its name may not be durable.
        stays = on_conflict == "replace" and (function, call) == ("fsync", 2)
        assert visible(directory) == ({"a.bin": DATA} if stays else {})
        assert spool(directory) == []
        assert descriptors() == before
    assert await put(store) == "a.bin"
    assert visible(directory) == {"a.bin": DATA}
    assert spool(directory) == []
    assert descriptors() == before


@pytest.mark.parametrize("on_conflict", ["rename", "reject"])
@pytest.mark.parametrize(("function", "times"), STEPS.items())
async def test_the_table_of_steps_is_whole(
    open_store: OpenStore, function: str, times: int, on_conflict: OnConflict
) -> None:
    store = open_store("replace" if function == "rename" else on_conflict)
    with faulty(function, range(0)) as disk:
        await put(store)
    assert disk.calls == times + TOLERATED.get(function, 0)


async def test_a_complete_file_that_cannot_be_opened_again_is_stored(
    open_store: OpenStore, directory: Path
) -> None:
    store = open_store()
    before = descriptors()
    with faulty("open", nth(STEPS["open"] + 1)) as disk:
        await put(store)
    assert disk.reached
    assert visible(directory) == {"a.bin": DATA}
    assert descriptors() == before


@pytest.mark.parametrize("call", [2, 3])
async def test_a_disk_that_fills_within_a_write_fails_the_upload_and_leaves_nothing(
    open_store: OpenStore, directory: Path, call: int
) -> None:
    store = open_store()
    before = descriptors()
    with pytest.MonkeyPatch.context() as patch:
        disk = CountingOs(7, "writev", nth(call))
        put_into_place(patch, disk)
        with pytest.raises(NoSpaceError, match="cannot write"):
            await put(store)
    assert disk.calls == call
    assert visible(directory) == {}
    assert spool(directory) == []
    assert descriptors() == before


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("function", ["unlink", "close"])
async def test_a_file_that_is_durably_published_is_stored_even_if_its_spool_file_stays(
    directory: Path, function: str, code: int
) -> None:
    with opened(directory) as store:
        store._spool.renames = False  # a file that is linked keeps its name in the spool
        before = descriptors()
        with faulty(function, nth(1), code) as disk:
            assert await put(store) == "a.bin"
        assert disk.reached
        assert visible(directory) == {"a.bin": DATA}
        assert descriptors() == before
        assert await put(store, upload="2") == "a (1).bin"
    with opened(directory):
        assert spool(directory) == []
    assert len(visible(directory)) == 2


@pytest.mark.parametrize("function", ["unlink", "close"])
async def test_discard_never_raises_and_the_next_start_clears_what_it_left(
    directory: Path, function: str
) -> None:
    with opened(directory) as store:
        before = descriptors()
        sink = await store.create("1", "a.bin")
        await sink.write([DATA])
        with faulty(function, nth(1)) as disk, capture_logs() as logs:
            await sink.discard()
        assert disk.reached
        event = "storage.leftover" if function == "unlink" else "storage.close_failed"
        assert [(line["event"], line["path"]) for line in logs] == [(event, "1")]
        assert visible(directory) == {}
        assert descriptors() == before
        assert await put(store, upload="2") == "a.bin"
    with opened(directory):
        assert spool(directory) == []


async def test_two_uploads_never_share_a_spool_file(open_store: OpenStore) -> None:
    store = open_store()
    async with await store.create("1", "a.bin"):
        with pytest.raises(StorageError, match="cannot create a spool file"):
            await store.create("1", "b.bin")


@pytest.mark.parametrize(
    ("function", "call"),
    # The first stat is of the directory's path, three more are of what is in the state directory.
    [("open", 1), ("rename_noreplace", 1), ("unlink", 1), ("stat", 5), ("close", 1)],
)
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
async def test_check_finds_a_disk_that_fails_and_then_one_that_works_again(
    directory: Path, function: str, call: int, code: int
) -> None:
    with opened(directory) as store:
        before = descriptors()
        with faulty(function, nth(call), code) as disk, pytest.raises(StorageError) as failed:
            await store.check()
        assert disk.reached
        assert type(failed.value) is (StorageError if code == errno.EIO else NoSpaceError)
        assert descriptors() == before
        await store.check()
    with opened(directory):
        assert spool(directory) == []


async def test_whoever_asks_for_free_space_may_go_away_while_the_disk_hangs(
    open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store()
    began, goes_on = threading.Event(), threading.Event()

    def hang() -> int:
        began.set()
        goes_on.wait(20)
        return 0

    monkeypatch.setattr(store, "_free", hang)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.free)
        await trio.to_thread.run_sync(began.wait, 20)
        nursery.cancel_scope.cancel()
    assert not goes_on.is_set()
    goes_on.set()
