"""Looking at finished files and removing them: what others have put in their place."""

import os
from pathlib import Path

import pytest
from helpers.local_store import opened
from structlog.testing import capture_logs

from galileod.storage.errors import StorageError
from galileod.storage.finished import Removed, Standing


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "files/june/first").mkdir(parents=True)
    (tmp_path / "files/june/first/a").write_bytes(b"content")
    return tmp_path / "files"


HOSTILE = [
    "", "/", ".", "..", "june/", "/june/first/a", "june//first/a", "june/./first/a",
    "june/first/../first/a", "../files/june/first/a", "../elsewhere/a", ".galileod/lock",
    "june/../.galileod/lock", "a\0b", "\0/a", "june/first",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
async def test_no_other_name_leads_to_a_file(directory: Path, name: str) -> None:
    elsewhere = directory.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "a").write_bytes(b"")
    with opened(directory) as store, capture_logs() as logs:
        assert await store.look([name, "june/first/a"]) == [
            None, (await store.look(["june/first/a"]))[0]
        ]  # fmt: skip
        assert await store.remove([name], [name]) == [Removed(name, found=False)]
        assert sorted(os.listdir(directory / ".galileod")) == ["lock", "spool"]
    assert (elsewhere / "a").exists()
    assert (directory / "june/first/a").exists()
    assert [line for line in logs if line["log_level"] != "info"] == []


@pytest.mark.parametrize("level", ["june", "june/first", "june/first/a"])
async def test_no_link_is_followed(directory: Path, level: str) -> None:
    elsewhere = directory.parent / "elsewhere"
    (directory / level).rename(elsewhere)
    (directory / level).symlink_to(elsewhere)
    with opened(directory) as store:
        assert await store.look(["june/first/a"]) == [None]
        assert await store.remove(["june/first/a"], ["june/first", "june"]) == [
            Removed("june/first/a", found=False)
        ]
    assert (directory / "june/first/a").read_bytes() == b"content"
    assert (directory / level).is_symlink()


@pytest.mark.parametrize("kind", ["folder", "pipe"])
async def test_only_regular_files_are_files(directory: Path, kind: str) -> None:
    (directory / "june/first/a").unlink()
    if kind == "folder":
        (directory / "june/first/a").mkdir()
    else:
        os.mkfifo(directory / "june/first/a")
    with opened(directory) as store:
        assert await store.look(["june/first/a"]) == [None]
        assert await store.remove(["june/first/a"]) == [Removed("june/first/a", found=False)]
    assert (directory / "june/first/a").exists()


async def test_only_empty_folders_that_are_named_are_removed_the_deepest_first(
    directory: Path,
) -> None:
    (directory / "june/second").mkdir()
    (directory / "july/first").mkdir(parents=True)
    with opened(directory) as store, capture_logs() as logs:
        await store.remove([], ["june", "june/first", "july", "none/at/all"])
        assert sorted(os.listdir(directory)) == [".galileod", "july", "june"]
        await store.remove(["june/first/a"], ["june", "june/first", "july", "july/first"])
        assert sorted(os.listdir(directory)) == [".galileod", "june"]
        assert os.listdir(directory / "june") == ["second"]
        await store.remove([], ["june/second", "june", ".galileod/spool", ".galileod", ""])
        assert os.listdir(directory) == [".galileod"]
        assert sorted(os.listdir(directory / ".galileod")) == ["lock", "spool"]
    assert [line for line in logs if line["log_level"] != "info"] == []


async def test_a_removal_is_durable(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, real = list[str](), os.fsync

    def fsync(fd: int) -> None:
        calls.append(os.readlink(f"/proc/self/fd/{fd}"))
        assert not (directory / "june/first/a").exists()
        assert (directory / "june/first").exists()
        real(fd)

    with opened(directory) as store:
        monkeypatch.setattr(os, "fsync", fsync)
        await store.remove(["june/first/a"], ["june/first"])
    assert calls == [str(directory / "june/first")]
    assert not (directory / "june/first").exists()


async def test_a_file_that_cannot_be_removed_affects_no_other(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (directory / "b").write_bytes(b"")
    real = os.unlink

    def unlink(path: str, *, dir_fd: int) -> None:
        if path == "a":
            raise PermissionError(1, "Operation not permitted")
        real(path, dir_fd=dir_fd)

    with opened(directory) as store:
        monkeypatch.setattr(os, "unlink", unlink)
        refused, removed = await store.remove(["june/first/a", "b"], ["june/first"])
        monkeypatch.undo()
    assert isinstance(refused, StorageError)
    assert str(refused) == "cannot remove june/first/a: Operation not permitted"
    assert removed == Removed("b", found=True)
    assert (directory / "june/first/a").exists()


async def test_a_directory_that_is_not_at_its_path_is_left_alone(directory: Path) -> None:
    with opened(directory) as store, capture_logs():
        os.rename(directory, directory.parent / "moved")
        os.mkdir(directory)
        for call in (store.look, store.remove):
            with pytest.raises(StorageError, match="was moved"):
                await call(["june/first/a"])
    assert (directory.parent / "moved/june/first/a").exists()


async def test_what_cannot_be_looked_at_affects_no_other(directory: Path) -> None:
    (directory / "b").write_bytes(b"12")
    names = ["x" * 300, "b", f"{'y' * 300}/a", "july/x"]
    with opened(directory) as store:
        first, second, third, fourth = await store.look(names)
        assert (str(first), str(third)) == (
            f"cannot stat {names[0]}: File name too long",
            f"cannot use the folder {'y' * 300}: File name too long",
        )
        assert isinstance(first, StorageError)
        assert isinstance(third, StorageError)
        assert isinstance(second, Standing)
        assert second.size == 2
        assert fourth is None
