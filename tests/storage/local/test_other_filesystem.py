"""Folders into which a file cannot be moved from the spool."""

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trio
from helpers.disk import descriptors
from helpers.local_store import DATA, open_local, put, spool
from helpers.mounts import mounted, tmpfs

from galileod.policy.publication import OnConflict
from galileod.storage.errors import ConflictError, MissingError, NoSpaceError, StorageError
from galileod.storage.local import LocalStore, copying, suspended, target

pytestmark = pytest.mark.timeout(60)

OpenStore = Callable[..., LocalStore]


def sha1(data: bytes) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


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


@pytest.mark.by_sink
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


@pytest.mark.by_sink
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


@pytest.mark.by_sink
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


@pytest.mark.by_sink
async def test_a_file_there_goes_on_as_long_as_the_process_lives(
    open_store: OpenStore, directory: Path, other: Path
) -> None:
    store = open_store()
    before = descriptors()
    async with await store.create("1", "anna/a.bin") as file:
        await file.write([DATA[:1000]])
        assert await file.checkpoint() == 0
        assert await file.suspend() == 0
    assert os.listdir(other) == spool(directory) == []
    for end in (2000, len(DATA)):
        async with await store.reopen("1", "anna/a.bin", "rename", "full") as file:
            assert file.check == sha1(DATA[: file.offset])
            await file.write([DATA[file.offset : end]])
            await file.suspend()
    async with await store.reopen("1", "anna/a.bin", "rename", "full") as file:
        await file.prepare()
        identity = file.identity
        await file.commit()
    assert (other / "a.bin").read_bytes() == DATA
    assert store.scan([identity]).names == {identity: "anna/a.bin"}
    assert descriptors() == before


@pytest.mark.by_sink
async def test_a_file_there_that_is_dropped_or_not_continued_is_gone(
    open_store: OpenStore, directory: Path, other: Path
) -> None:
    others = descriptors()  # of tests that end as a crash does
    store = open_store("reject")
    before = descriptors()
    for upload in ("1", "2"):
        async with await store.create(upload, "anna/a.bin") as file:
            await file.write([DATA])
            await file.suspend()
    (other / "a.bin").write_bytes(b"first")
    with pytest.raises(ConflictError):
        await store.reopen("1", "anna/a.bin", "reject", "full")
    (other / "a.bin").unlink()
    async with await store.reopen("1", "anna/a.bin", "reject", "full"):
        pass
    await store.drop("2")
    for upload in ("1", "2"):
        with pytest.raises(MissingError):
            await store.reopen(upload, "anna/a.bin", "reject", "full")
    assert descriptors() == before
    async with await store.create("3", "anna/a.bin") as file:
        await file.write([DATA])
        await file.suspend()
    store.close()
    assert descriptors() == others
    store = open_local(directory, trusted={"3": None})
    with pytest.raises(MissingError):
        await store.reopen("3", "anna/a.bin", "reject", "full")
    store.close()


@pytest.mark.by_sink
async def test_no_more_files_without_a_name_are_suspended_than_descriptors_are_to_spare(
    open_store: OpenStore, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suspended, "MAX_UNNAMED", 1)
    store = open_store()
    async with await store.create("1", "anna/a.bin") as file:
        await file.suspend()
    before = descriptors()
    async with await store.create("2", "anna/a.bin") as file:
        with pytest.raises(StorageError, match="without a name"):
            await file.suspend()
    assert descriptors() == before
    await store.drop("1")
    async with await store.create("2", "anna/a.bin") as file:
        await file.suspend()


@pytest.mark.by_sink
@pytest.mark.parametrize("moment", ["before it goes on", "when it is complete"])
async def test_a_suspended_file_goes_to_a_filesystem_mounted_since(
    open_store: OpenStore, directory: Path, moment: str
) -> None:
    store = open_store()
    async with await store.create("1", "anna/a.bin") as file:
        await file.write([DATA[:1000]])
        await file.suspend()
    with tmpfs(directory / "anna") as folder:
        async with await store.reopen("1", "anna/a.bin", "rename", "full") as file:
            await file.write([DATA[1000:]])
            if moment == "when it is complete":
                await file.prepare()  # copies it
            await file.suspend()
        async with await store.reopen("1", "anna/a.bin", "rename", "full") as file:
            assert file.check == sha1(DATA)
            await file.commit()
        assert (folder / "a.bin").read_bytes() == DATA
        assert os.listdir(folder) == ["a.bin"]
    assert spool(directory) == []


@pytest.mark.by_sink
async def test_a_folder_that_cannot_take_a_suspended_file_any_more_is_refused_before_the_data(
    open_store: OpenStore, directory: Path, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def no_unnamed(path: str, flags: int, *arguments: object, **options: object) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        return real(path, flags, *arguments, **options)  # type: ignore[arg-type]

    store = open_store()
    async with await store.create("1", "a.bin") as file:
        await file.write([DATA])
        await file.suspend()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "open", no_unnamed)
        with pytest.raises(StorageError, match=r"the folder anna.*O_TMPFILE"):
            await store.reopen("1", "anna/a.bin", "rename", "full")
    assert spool(directory) == ["1"]
    async with await store.reopen("1", "anna/a.bin", "rename", "full") as file:
        await file.commit()
    assert (other / "a.bin").read_bytes() == DATA
