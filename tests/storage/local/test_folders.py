"""Files in folders below the directory: where they are put, and what stands in the way."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from helpers.local_store import listed, open_local
from structlog.testing import capture_logs

from galileod.policy.names import safe_name
from galileod.policy.publication import OnConflict
from galileod.storage.errors import ConflictError, NoSpaceError, StorageError
from galileod.storage.local import LocalStore, durablenames
from galileod.storage.local.durablenames import DurableNames
from galileod.storage.local.folders import Folders
from galileod.storage.local.leftovers import is_leftover, temporary_name
from galileod.storage.local.scan import MAX_DEPTH, files_below


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "files").mkdir()
    return tmp_path / "files"


@contextmanager
def opened(directory: Path) -> Iterator[int]:
    fd = os.open(directory, os.O_RDONLY)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def open_store(directory: Path, on_conflict: OnConflict = "rename") -> Iterator[LocalStore]:
    store = open_local(directory, on_conflict)
    try:
        yield store
    finally:
        store.close()


async def put(store: LocalStore, path: str, data: bytes = b"data") -> str:
    async with await store.create("1", path) as sink:
        await sink.write([data])
        return (await sink.commit()).name


async def test_a_file_goes_into_folders_that_are_made_for_it(directory: Path) -> None:
    with open_store(directory) as store:
        assert await put(store, "2026-11-23/anna/a.txt") == "2026-11-23/anna/a.txt"
        assert await put(store, "2026-11-23/anna/a.txt") == "2026-11-23/anna/a (1).txt"
        assert await put(store, "2026-11-23/a.b/a") == "2026-11-23/a.b/a"
        assert listed(store) == {
            "2026-11-23/anna/a.txt": 4, "2026-11-23/anna/a (1).txt": 4, "2026-11-23/a.b/a": 4
        }  # fmt: skip
    folder = directory / "2026-11-23" / "anna"
    assert (folder / "a (1).txt").read_bytes() == b"data"


async def test_folders_are_for_owner_and_group_whatever_the_umask(directory: Path) -> None:
    before = os.umask(0o077)
    try:
        with open_store(directory) as store:
            await put(store, "a/b/c")
    finally:
        os.umask(before)
    assert [stat.S_IMODE((directory / path).stat().st_mode) for path in ("a", "a/b")] == [0o750] * 2


@pytest.mark.parametrize("in_the_way", ["file", "link"])
async def test_what_is_no_folder_is_not_gone_through(directory: Path, in_the_way: str) -> None:
    elsewhere = directory.parent / "elsewhere"
    elsewhere.mkdir()
    if in_the_way == "file":
        (directory / "anna").write_bytes(b"")
    else:
        (directory / "anna").symlink_to(elsewhere)
    with open_store(directory) as store:
        with pytest.raises(ConflictError, match=r"^anna is not a folder$"):
            await put(store, "anna/a.txt")
        assert os.listdir(directory / ".galileod" / "spool") == []
    assert os.listdir(elsewhere) == []


async def test_a_name_that_is_taken_in_its_folder_is_rejected_at_once(directory: Path) -> None:
    with open_store(directory, "reject") as store:
        await put(store, "anna/a.txt")
        await put(store, "ben/a.txt")
        with pytest.raises(ConflictError, match=r"anna/a\.txt exists already"):
            await store.create("2", "anna/a.txt")


async def test_a_file_is_replaced_in_its_folder(directory: Path) -> None:
    with open_store(directory, "replace") as store:
        await put(store, "anna/a.txt", b"old")
        assert await put(store, "anna/a.txt", b"new") == "anna/a.txt"
    assert (directory / "anna" / "a.txt").read_bytes() == b"new"


def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The folders whose names were made durable, in order."""
    calls: list[str] = []
    real = os.fsync

    def fsync(fd: int) -> None:
        calls.append(os.path.basename(os.readlink(f"/proc/self/fd/{fd}")))
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    return calls


def test_the_names_of_new_folders_are_made_durable_once(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = synced(monkeypatch)
    with opened(directory) as fd:
        tree = Folders(fd)
        with tree.open("a/b") as folder:
            assert calls == []
            folder.sync()
            assert calls == ["files", "a", "b"]
            (directory / "a/b/file").write_bytes(b"")
        with tree.open("a/b") as folder:
            folder.sync()
        assert calls[3:] == ["b"], "known to be durable"
        (directory / "a/b/file").unlink()
        (directory / "a" / "b").rmdir()
        with tree.open("a/b") as folder:
            folder.sync()
        assert calls[4:] == ["a", "b"], "made anew"
        with Folders(fd).open("a") as folder:
            folder.sync()
        assert calls[6:] == ["files", "a"], "made by somebody else"


def test_a_folder_that_was_made_anew_meanwhile_is_not_taken_for_durable(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(directory) as fd:
        tree = Folders(fd)
        with tree.open("a") as old:
            (directory / "a").rmdir()
            with tree.open("a") as new:
                tree.keep(new)
                old.sync()
                calls = synced(monkeypatch)
                with tree.open("a") as folder:
                    folder.sync()
                assert calls == ["files", "a"]


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durablenames, "MAX_KNOWN", 2)
    names = DurableNames()
    old = names.generation("a")
    assert old is not None
    for name in "abcde":
        names.add(name, names.forget(name))
        assert names.generation(name) is None
        assert len(names._durable) <= 2
        assert len(names._generations) <= 2
    names.add("a", old)
    assert names.generation("a") is not None, "made anew since, as far as is known"


@pytest.mark.parametrize(("code", "kind"), [(28, NoSpaceError), (5, StorageError)])
def test_a_folder_that_cannot_be_made_is_told(
    directory: Path, monkeypatch: pytest.MonkeyPatch, code: int, kind: type[StorageError]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    with opened(directory) as fd:
        before = len(os.listdir("/proc/self/fd"))
        monkeypatch.setattr(os, "mkdir", fail)
        with (
            pytest.raises(kind, match=r"^cannot use the folder a: ") as told,
            Folders(fd).open("a"),
        ):
            pass
        assert type(told.value) is kind
        assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(("code", "kind"), [(28, NoSpaceError), (5, StorageError)])
async def test_a_file_whose_folder_cannot_be_made_durable_fails_and_leaves_nothing(
    directory: Path, monkeypatch: pytest.MonkeyPatch, code: int, kind: type[StorageError]
) -> None:
    def fail(_: int) -> None:
        raise OSError(code, os.strerror(code))

    with open_store(directory) as store:
        async with await store.create("1", "a/b/c") as sink:
            await sink.prepare()
            with monkeypatch.context() as patch:
                patch.setattr(os, "fsync", fail)
                with pytest.raises(kind, match=r"^cannot make the file's name durable: "):
                    await sink.commit()
        assert os.listdir(directory) == [".galileod"]
        assert listed(store) == {}


def test_files_are_found_to_the_depth_of_any_layout(directory: Path) -> None:
    deep = directory
    for _ in range(MAX_DEPTH + 1):
        (deep / "file").write_bytes(b"1")
        deep = deep / "d"
        deep.mkdir()
    (deep / "file").write_bytes(b"too deep")
    (directory / ".hidden").mkdir()
    (directory / ".hidden" / "file").write_bytes(b"")
    (directory / "link").symlink_to(directory / "d")
    with opened(directory) as fd:
        found = {path: state.st_size for path, state in files_below(fd, "", MAX_DEPTH)}
    assert found == {"d/" * depth + "file": 1 for depth in range(MAX_DEPTH + 1)}


async def test_the_ledger_is_told_of_files_in_folders_at_the_start(directory: Path) -> None:
    with open_store(directory) as store:
        await put(store, "anna/a.txt")
    with capture_logs(), open_store(directory) as store:
        assert listed(store) == {"anna/a.txt": 4}


async def test_a_file_left_under_a_temporary_name_is_removed_and_never_counted(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = temporary_name("0123456789abcdef")
    with open_store(directory) as store:
        await put(store, "anna/a.txt")
        (directory / "anna" / name).write_bytes(b"data")
        with monkeypatch.context() as patch, capture_logs() as logs:
            patch.setattr(os, "unlink", fail_with_eio)
            assert listed(store) == {"anna/a.txt": 4}
        assert [line["path"] for line in logs] == [name]
        assert listed(store) == {"anna/a.txt": 4}
    assert os.listdir(directory / "anna") == ["a.txt"]


def fail_with_eio(*_: object, **__: object) -> None:
    raise OSError(5, os.strerror(5))


def test_no_client_can_choose_a_temporary_name() -> None:
    assert is_leftover(temporary_name("0123456789abcdef"))
    assert not is_leftover(safe_name(temporary_name("0123456789abcdef")))


async def test_a_folder_is_listed_as_it_is_at_the_moment(directory: Path) -> None:
    with open_store(directory) as store:
        for number in range(3):
            await put(store, f"{number}")
            assert len(listed(store)) == number + 1
