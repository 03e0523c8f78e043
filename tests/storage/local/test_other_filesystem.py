"""Folders into which a file cannot be moved from the spool."""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trio
from helpers.disk import descriptors
from helpers.local_store import DATA, put, spool
from helpers.mounts import mounted, tmpfs

from galileod.policy.publication import OnConflict
from galileod.storage.base import NoSpaceError, StorageError
from galileod.storage.local import LocalStore, copying, target

pytestmark = pytest.mark.timeout(60)

OpenStore = Callable[..., LocalStore]


@pytest.fixture(params=["tmpfs", "bind"])
def other(request: pytest.FixtureRequest, directory: Path, tmp_path: Path) -> Iterator[Path]:
    """A folder on which another filesystem is mounted, or another part of the same one."""
    if request.param == "tmpfs":
        with tmpfs(directory / "anna") as folder:
            yield folder
    else:
        (tmp_path / "elsewhere").mkdir()
        with mounted(directory / "anna", "--bind", str(tmp_path / "elsewhere")) as folder:
            yield folder


async def test_a_file_is_stored_on_a_filesystem_mounted_in_the_directory(
    open_store: OpenStore, directory: Path, other: Path
) -> None:
    store = open_store()
    before = descriptors()
    async with await store.create("1", "anna/a.bin") as file:
        await file.write([DATA[:1000], DATA[1000:]])
        await file.prepare()
        identity = file.identity
        assert os.listdir(other) == spool(directory) == []
        stored = await file.commit()
    assert stored.name == "anna/a.bin"
    assert (other / "a.bin").read_bytes() == DATA
    assert stat.S_IMODE((other / "a.bin").stat().st_mode) == 0o640
    assert store.scan([identity]).names == {identity: "anna/a.bin"}
    assert await put(store, "anna/a.bin") == "anna/a (1).bin"
    assert descriptors() == before


async def test_a_file_there_is_replaced_in_one_step(
    open_store: OpenStore, directory: Path, other: Path
) -> None:
    store = open_store("replace")
    (other / "a.bin").write_bytes(b"old")
    async with await store.create("1", "anna/a.bin") as file:
        await file.write([DATA])
        await file.prepare()
        assert (other / "a.bin").read_bytes() == b"old"
        await file.commit()
    assert (other / "a.bin").read_bytes() == DATA
    assert os.listdir(other) == ["a.bin"]
    assert spool(directory) == []


async def test_the_free_space_for_a_file_is_that_of_the_filesystem_of_its_folder(
    open_store: OpenStore, directory: Path
) -> None:
    with tmpfs(directory / "anna", "size=1m"):
        store = open_store()
        there = await store.free_at("anna/2026/a.bin")
        here = await store.free_at("a.bin")
        assert there.free <= 2**20
        assert here.free > 2**20
        assert there.filesystem != here.filesystem
        assert os.listdir(directory / "anna") == []
        async with await store.create("1", "anna/a.bin") as file:
            with pytest.raises(NoSpaceError):
                await file.write([bytes(2**20 + 1)])
        assert os.listdir(directory / "anna") == []


async def test_a_filesystem_without_unnamed_files_is_refused_before_the_data(
    open_store: OpenStore, directory: Path, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def no_unnamed(path: str, flags: int, *arguments: object, **options: object) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        return real(path, flags, *arguments, **options)  # type: ignore[arg-type]

    store = open_store()
    monkeypatch.setattr(os, "open", no_unnamed)
    with pytest.raises(StorageError, match=r"the folder anna.*O_TMPFILE"):
        await store.create("1", "anna/a.bin")
    assert os.listdir(other) == spool(directory) == []


@pytest.mark.parametrize("on_conflict", ["rename", "replace"])
@pytest.mark.parametrize("moment", ["before prepare", "after prepare"])
async def test_a_filesystem_mounted_during_an_upload_gets_a_copy(
    open_store: OpenStore, directory: Path, moment: str, on_conflict: OnConflict
) -> None:
    store = open_store(on_conflict)
    before = descriptors()
    async with await store.create("1", "anna/a.bin") as file:
        await file.write([DATA])
        if moment == "after prepare":
            await file.prepare()
        with tmpfs(directory / "anna") as folder:
            if moment == "before prepare":
                await file.prepare()
            await file.commit()
            assert (folder / "a.bin").read_bytes() == DATA
            assert os.listdir(folder) == ["a.bin"]
        assert spool(directory) == []
    assert descriptors() == before
    assert os.listdir(directory / "anna") == []


async def test_a_copy_that_fails_or_is_cancelled_leaves_nothing(
    open_store: OpenStore, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store()
    before = descriptors()
    with tmpfs(directory / "ben", "size=16k"):
        (directory / "ben").mkdir(exist_ok=True)
        async with await store.create("1", "anna/a.bin") as file:
            await file.write([bytes(100_000)])
            with tmpfs(directory / "anna", "size=16k") as folder:
                with pytest.raises(NoSpaceError, match="cannot copy"):
                    await file.prepare()
                assert os.listdir(folder) == []
    async with await store.create("1", "anna/a.bin") as file:
        await file.write([DATA])
        with tmpfs(directory / "anna") as folder:
            with trio.CancelScope() as scope:
                scope.cancel()
                await file.prepare()
            assert scope.cancelled_caught
            assert os.listdir(folder) == []
    assert spool(directory) == []
    assert descriptors() == before


@pytest.mark.parametrize("supported", [True, False])
def test_a_copy_has_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, supported: bool
) -> None:
    def unsupported(*_: object) -> int:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    if not supported:
        monkeypatch.setattr(os, "copy_file_range", unsupported)
    monkeypatch.setattr(copying, "PIECE", 1000)
    monkeypatch.setattr(copying, "_READ", 300)
    (tmp_path / "a").write_bytes(DATA)
    pieces = []
    with (tmp_path / "a").open("rb") as source, (tmp_path / "b").open("wb") as copied:
        copying.copy(source.fileno(), copied.fileno(), len(DATA), lambda: pieces.append(1))
        with pytest.raises(StorageError, match="another size"):
            copying.copy(source.fileno(), copied.fileno(), len(DATA) + 1, lambda: None)
    assert (tmp_path / "b").read_bytes() == DATA
    assert len(pieces) >= len(DATA) / 1000


async def test_a_project_quota_counts_as_another_filesystem(
    open_store: OpenStore, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store()
    root = store._parts.folders._root.fd
    monkeypatch.setattr(target, "inherited_project", lambda fd: 7 if fd == root else None)
    async with await store.create("1", "a.bin") as file:
        assert spool(directory) == []
        await file.write([DATA])
        await file.commit()
    assert (directory / "a.bin").read_bytes() == DATA
