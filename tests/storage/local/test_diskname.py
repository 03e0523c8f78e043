"""Filesystems that ignore case: each file is known by the one name that the disk has."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers.local_store import listed, put
from helpers.missing import find, leave_out

from galileod.storage.errors import ConflictError
from galileod.storage.local import LocalStore
from galileod.storage.local.diskname import name_on_disk

OpenStore = Callable[..., LocalStore]


@pytest.fixture
def ignoring_case(tmp_path: Path) -> Iterator[Path]:
    """A folder on an NTFS that ignores case, and shows all names in lower case."""
    image, folder = tmp_path / "image", tmp_path / "mounted"
    if os.geteuid() != 0 or find("lowntfs-3g") is None:
        leave_out("mounting NTFS needs root, and Debian's package ntfs-3g")
    with image.open("wb") as file:
        file.truncate(16 << 20)
    subprocess.run(["mkfs.ntfs", "-F", "-q", image], check=True, capture_output=True)
    folder.mkdir()
    subprocess.run(["lowntfs-3g", "-o", "ignore_case", image, folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


async def test_names_that_differ_in_case_are_one_name(
    open_store: OpenStore, ignoring_case: Path
) -> None:
    store = open_store(at=ignoring_case)
    assert store._spool.maps_names
    names = [await put(store, name) for name in ("a.bin", "A.bin", "a.BIN", "Anna/b", "anna/B")]
    assert sorted(names) == sorted(listed(store))
    assert len({name.casefold() for name in names}) == 5


async def test_a_file_that_replaces_one_in_another_case_has_its_name(
    open_store: OpenStore, ignoring_case: Path
) -> None:
    store = open_store("replace", at=ignoring_case)
    for name in ("Anna/a.bin", "Anna/A.BIN", "ANNA/a.BIN"):
        assert [await put(store, name)] == list(listed(store))


async def test_rejecting_refuses_a_name_in_another_case_before_the_data(
    open_store: OpenStore, ignoring_case: Path
) -> None:
    store = open_store("reject", at=ignoring_case)
    await put(store, "a.bin")
    with pytest.raises(ConflictError):
        await store.create("2", "A.BIN")


async def test_usual_filesystems_change_no_names(open_store: OpenStore) -> None:
    store = open_store()
    assert not store._spool.maps_names
    assert store._spool.any_name


def test_of_several_names_of_a_file_it_is_the_one_that_differs_least(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "A\u0308.bin").write_bytes(b"")
    os.link(tmp_path / "A\u0308.bin", tmp_path / "other")
    (tmp_path / "more").write_bytes(b"")
    fd = os.open(tmp_path, os.O_RDONLY)
    real = os.stat
    try:
        assert name_on_disk(fd, "other") == "other"
        # Stands in for a filesystem that finds the file by this name too.
        monkeypatch.setattr(os, "stat", lambda *_, **__: real(tmp_path / "A\u0308.bin"))
        assert name_on_disk(fd, "\u00e4.BIN") == "A\u0308.bin"
        assert name_on_disk(fd, "unlike") == "unlike"
    finally:
        os.close(fd)
