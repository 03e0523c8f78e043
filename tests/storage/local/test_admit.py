"""What is found out before an upload begins, without a file."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.disk import faulty, nth
from helpers.local_store import spool, visible
from helpers.watching import watching

from galileod.policy.publication import OnConflict
from galileod.storage.errors import BadNameError, ConflictError, StorageError
from galileod.storage.finished import Space
from galileod.storage.local import LocalStore

OpenStore = Callable[..., LocalStore]

ANY: list[OnConflict] = ["rename", "reject", "replace"]


@pytest.mark.parametrize("on_conflict", ANY)
@pytest.mark.parametrize("path", ["a.bin", "anna/a.bin", "anna/2026/a.bin"])
async def test_a_file_that_can_be_stored_is_admitted_with_the_free_space(
    open_store: OpenStore, directory: Path, path: str, on_conflict: OnConflict
) -> None:
    store = open_store()
    with watching(directory) as watch:
        space = await store.admit(path, on_conflict)
        assert watch.events() == []
    assert space.filesystem == os.stat(directory).st_dev
    assert isinstance(await store.free_at(path), Space)
    assert 0 < space.free < 2**62
    assert visible(directory) == {}
    assert spool(directory) == []


@pytest.mark.parametrize("on_conflict", ANY)
async def test_a_folder_that_is_none_is_a_conflict(
    open_store: OpenStore, directory: Path, on_conflict: OnConflict
) -> None:
    store = open_store()
    (directory / "anna").write_bytes(b"a file")
    for path in ("anna/a.bin", "anna/2026/a.bin"):
        with pytest.raises(ConflictError, match="anna is not a folder"):
            await store.admit(path, on_conflict)


async def test_a_name_that_is_taken_is_a_conflict_if_it_is_to_be_rejected(
    open_store: OpenStore, directory: Path
) -> None:
    store = open_store()
    (directory / "anna").mkdir()
    (directory / "anna/a.bin").write_bytes(b"a file")
    (directory / "b.bin").mkdir()
    with pytest.raises(ConflictError, match=r"anna/a\.bin exists already"):
        await store.admit("anna/a.bin", "reject")
    with pytest.raises(ConflictError, match=r"b\.bin is a directory"):
        await store.admit("b.bin", "replace")
    await store.admit("anna/a.bin", "rename")
    await store.admit("anna/a.bin", "replace")
    await store.admit("bert/a.bin", "reject")


async def test_a_name_that_the_filesystem_does_not_accept_is_refused(
    open_store: OpenStore, directory: Path
) -> None:
    store = open_store()
    for path in ("n" * 256, "anna/" + "n" * 256, "n" * 250):
        with pytest.raises(BadNameError):
            await store.admit(path, "rename")
    await store.admit("n" * 250, "reject")
    assert visible(directory) == {}


@pytest.mark.parametrize("path", ["a.bin", "anna/a.bin"])
async def test_a_folder_on_a_disk_that_fails_is_an_error(open_store: OpenStore, path: str) -> None:
    store = open_store()
    with faulty("fstatvfs", nth(1), errno.EIO), pytest.raises(StorageError):
        await store.free_at(path)
    await store.admit(path, "rename")


async def test_a_directory_that_was_moved_is_an_error(
    open_store: OpenStore, directory: Path
) -> None:
    store = open_store()
    os.rename(directory, f"{directory}-moved")
    with pytest.raises(StorageError, match=r"storage\.directory"):
        await store.admit("a.bin", "rename")
    os.rename(f"{directory}-moved", directory)
    await store.admit("a.bin", "rename")
