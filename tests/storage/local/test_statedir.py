"""What is removed from the state directory while a store is open is made anew."""

import fcntl
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.disk import descriptors, faulty, nth
from helpers.local_store import DATA, open_local, put, spool, visible
from helpers.mounts import tmpfs
from structlog.testing import capture_logs

from galileod.storage.errors import StorageError
from galileod.storage.local import LocalStore

pytestmark = pytest.mark.timeout(20)

OpenStore = Callable[..., LocalStore]

STATE = {".galileod": 0o700, ".galileod/lock": 0o600, ".galileod/spool": 0o700}


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


@pytest.mark.parametrize(
    ("removed", "restored"),
    [
        (".galileod", list(STATE)),
        (".galileod/lock", [".galileod/lock"]),
        (".galileod/spool", [".galileod/spool"]),
    ],
)
@pytest.mark.parametrize("first", ["upload", "check", "free"])
async def test_what_was_removed_is_made_anew_and_told(
    open_store: OpenStore, directory: Path, removed: str, restored: list[str], first: str
) -> None:
    store = open_store()
    before = descriptors()
    remove(directory / removed)
    with capture_logs() as logs:
        match first:
            case "upload":
                assert await put(store) == "a.bin"
            case "check":
                await store.check()
            case "free":
                await store.free()
        await put(store, "b.bin")
    assert [(line["event"], line["path"]) for line in logs] == [
        ("storage.state_restored", str(directory / path)) for path in restored
    ]
    modes = {path: stat.S_IMODE((directory / path).stat().st_mode) for path in STATE}
    assert modes == STATE
    assert spool(directory) == []
    assert len(descriptors()) == len(before)
    with pytest.raises(StorageError, match="another galileod"):
        open_store()
    store.close()
    open_store()


@pytest.mark.by_sink
@pytest.mark.parametrize("removed", [".galileod", ".galileod/spool", ".galileod/spool/1"])
async def test_an_upload_whose_file_was_removed_fails_and_the_next_is_stored(
    open_store: OpenStore, directory: Path, removed: str
) -> None:
    store = open_store()
    before = len(descriptors())
    async with await store.create("1", "a.bin") as sink:
        await sink.write([DATA])
        remove(directory / removed)
        await store.check()
        await sink.write([DATA])
        with pytest.raises(StorageError, match="removed the file from the spool"):
            await sink.commit()
    assert visible(directory) == {}
    assert await put(store, "b.bin") == "b.bin"
    assert len(descriptors()) == before


async def test_an_upload_goes_on_when_only_the_lock_file_was_removed(
    open_store: OpenStore, directory: Path
) -> None:
    store = open_store()
    async with await store.create("1", "a.bin") as sink:
        await sink.write([DATA])
        remove(directory / ".galileod/lock")
        await store.check()
        await sink.commit()
    assert visible(directory) == {"a.bin": DATA}


async def test_the_directory_is_shared_with_no_daemon_that_has_locked_a_new_lock_file(
    open_store: OpenStore, directory: Path
) -> None:
    store = open_store()
    remove(directory / ".galileod")
    (directory / ".galileod").mkdir()
    with (directory / ".galileod/lock").open("w") as older:
        fcntl.flock(older, fcntl.LOCK_EX)
        for _ in range(2):
            with pytest.raises(StorageError, match=r"another galileod uses storage\.directory"):
                await store.check()
        with pytest.raises(StorageError, match="another galileod"):
            await put(store)
    assert await put(store) == "a.bin"


@pytest.mark.parametrize("entry", STATE)
@pytest.mark.parametrize("kind", ["link", "dangling link"])
async def test_a_symbolic_link_in_the_place_of_what_was_removed_is_not_followed(
    open_store: OpenStore, directory: Path, tmp_path: Path, entry: str, kind: str
) -> None:
    store = open_store()
    target = tmp_path / "elsewhere"
    if kind == "link":
        target.mkdir()
    remove(directory / entry)
    (directory / entry).symlink_to(target)
    for step in (store.check, lambda: put(store)):
        with pytest.raises(StorageError, match=r"cannot restore \.galileod"):
            await step()
    assert not target.exists() or os.listdir(target) == []
    (directory / entry).unlink()
    assert await put(store) == "a.bin"


@pytest.mark.parametrize(("function", "times"), [("mkdir", 2), ("open", 3), ("fchmod", 2)])
async def test_what_cannot_be_made_anew_is_tried_again_and_leaks_nothing(
    open_store: OpenStore, directory: Path, function: str, times: int
) -> None:
    store = open_store()
    before = len(descriptors())
    for call in range(1, times + 1):
        remove(directory / ".galileod")
        with faulty(function, nth(call)) as disk:
            with pytest.raises(StorageError, match=r"cannot restore \.galileod"):
                await store.free()
            assert disk.reached
            assert len(descriptors()) == before
            await store.check()
    assert await put(store) == "a.bin"
    assert len(descriptors()) == before


async def test_a_filesystem_that_is_mounted_on_the_spool_is_used(
    open_store: OpenStore, directory: Path
) -> None:
    store = open_store()
    async with await store.create("1", "a.bin") as sink:
        await sink.write([DATA])
        with tmpfs(directory / ".galileod/spool"):
            await store.check()
            assert await put(store, "b.bin") == "b.bin"
            # Its file is hidden, and so it is copied from the open descriptor.
            await sink.commit()
    assert visible(directory) == {"a.bin": DATA, "b.bin": DATA}
    assert await put(store, "c.bin", upload="2") == "c.bin"


def test_a_directory_in_the_spool_stays_and_does_not_prevent_the_start(directory: Path) -> None:
    stray = directory / ".galileod/spool/stray"
    stray.mkdir(parents=True)
    (stray / "precious").write_bytes(b"mine")
    (stray.parent / "left").write_bytes(b"half")
    with capture_logs() as logs:
        open_local(directory).close()
    assert os.listdir(stray.parent) == ["stray"]
    assert (stray / "precious").read_bytes() == b"mine"
    assert [line["event"] for line in logs] == ["storage.leftover", "spool.cleared"]
