"""Folders that are made for files: when, by whom, and what becomes of them."""

import errno
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from helpers.local_store import listed, open_local, opened, spool
from structlog.testing import capture_logs

from galileod.policy.publication import OnConflict
from galileod.storage.base import Stored
from galileod.storage.errors import BadNameError, ConflictError, StorageError
from galileod.storage.finished import Removed
from galileod.storage.local import LocalStore, folders
from galileod.storage.local import publish as publishing
from galileod.storage.local.removing import remove
from galileod.storage.whole import WholeFile, Written

WAYS = ["sink", "whole"]
CONTENT = b"content"


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "files"


async def put(
    store: LocalStore, path: str, way: str, between: Callable[[], object] = int
) -> Stored:
    """Store a file; `between` is called when it is complete and not published."""
    if way == "sink":
        async with await store.create("1", path) as sink:
            await sink.write([CONTENT])
            await sink.prepare()
            between()
            return await sink.commit()
    (stored,) = await put_all(store, [path], between)
    if isinstance(stored, StorageError):
        raise stored
    return stored


async def put_all(
    store: LocalStore, paths: Sequence[str], between: Callable[[], object] = int
) -> Sequence[Stored | StorageError]:
    files = [
        WholeFile(f"{at}", path, [CONTENT], (), store._settings.on_conflict, "full")
        for at, path in enumerate(paths)
    ]
    written = await store.write_whole(files)
    good = [one for one in written if isinstance(one, Written)]
    between()
    published = iter(await store.publish_whole(good))
    return [next(published) if isinstance(one, Written) else one for one in written]


def tree(directory: Path) -> list[str]:
    """Everything in the directory but galileod's own."""
    return sorted(
        str(path.relative_to(directory))
        for path in directory.rglob("*")
        if ".galileod" not in path.parts
    )


async def test_a_file_tells_which_folders_were_made_for_it(directory: Path, way: str) -> None:
    (directory / "by hand").mkdir(parents=True)
    with opened(directory) as store:
        assert (await put(store, "a/b/c/x", way)).made == ("a", "a/b", "a/b/c")
        assert (await put(store, "a/b/c/y", way)).made == ()
        assert (await put(store, "a/b/d/y", way)).made == ("a/b/d",)
        assert (await put(store, "by hand/a/x", way)).made == ("by hand/a",)
        assert (await put(store, "by hand/x", way)).made == ()
        assert (await put(store, "x", way)).made == ()


async def test_no_folder_is_made_before_the_file_is_published(directory: Path, way: str) -> None:
    seen = list[str]()
    with opened(directory) as store:
        await put(store, "a/b/x", way, lambda: seen.extend(tree(directory)))
        sink = await store.create("2", "c/d")
        await sink.write([CONTENT])
        await sink.suspend()
        (await store.reopen("2", "c/d", "rename", "full"))._file.close()
        await store.admit("e/f", "rename")
    assert seen == []
    assert tree(directory) == ["a", "a/b", "a/b/x"]


@pytest.mark.parametrize("call", ["fsync", "rename"])
async def test_folders_of_a_file_that_fails_are_removed_again(
    directory: Path, way: str, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def break_it() -> None:
        if call == "fsync":
            monkeypatch.setattr(os, "fsync", fail)
        else:
            monkeypatch.setattr(publishing, "rename_noreplace", fail)

    (directory / "old").mkdir(parents=True)
    with opened(directory) as store:
        with pytest.raises(StorageError, match="Input/output error"):
            await put(store, "old/a/b/x", way, break_it)
        assert tree(directory) == ["old"]
        assert spool(directory) == []
        monkeypatch.undo()
        assert (await put(store, "old/a/b/x", way)).made == ("old/a", "old/a/b")


async def test_a_folder_with_another_file_stays_when_one_fails(directory: Path) -> None:
    with opened(directory) as store:
        (directory / "a").mkdir()
        (directory / "a/taken").write_bytes(b"")
        async with await store.create("1", "a/new/x", "reject") as sink:
            other = store._parts.folders
            with other.open("a/new") as made:
                assert (await sink.commit()).made == ("a/new",)
                assert made.made == ("a/new",)
        assert tree(directory) == ["a", "a/new", "a/new/x", "a/taken"]


async def test_a_file_that_uses_the_folder_of_one_that_fails_tells_of_it(directory: Path) -> None:
    with opened(directory) as store, store._parts.folders.open("a/b"):
        stored = await put(store, "a/b/x", "sink")
    assert stored.made == ("a", "a/b")
    assert tree(directory) == ["a", "a/b", "a/b/x"]


@pytest.mark.parametrize("gone", ["a/b", "a"])
async def test_a_folder_that_is_removed_before_publication_is_made_again(
    directory: Path, way: str, gone: str
) -> None:
    def remove() -> None:
        (directory / "a/b").rmdir()
        if gone == "a":
            (directory / "a").rmdir()

    (directory / "a/b").mkdir(parents=True)
    with opened(directory) as store:
        stored = await put(store, "a/b/x", way, remove)
    assert stored.made == (("a", "a/b") if gone == "a" else ("a/b",))
    assert (directory / "a/b/x").read_bytes() == CONTENT


@pytest.mark.parametrize("times", [1, 3, folders.TRIES])
@pytest.mark.parametrize("on_conflict", ["rename", "replace"])
async def test_a_folder_that_is_removed_during_publication_is_made_again(
    directory: Path, way: str, times: int, on_conflict: OnConflict, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, left = publishing.publish, [times]

    def publish(source: publishing.Source, fd: int, name: str, conflict: OnConflict) -> str:
        if left[0]:
            left[0] -= 1
            (directory / "a/b").rmdir()
        return real(source, fd, name, conflict)

    monkeypatch.setattr(publishing, "publish", publish)
    store = open_local(directory, on_conflict)
    try:
        if times < folders.TRIES:
            assert (await put(store, "a/b/x", way)).made == ("a", "a/b")
            assert tree(directory) == ["a", "a/b", "a/b/x"]
        else:
            with pytest.raises(StorageError, match="folder"):
                await put(store, "a/b/x", way)
            assert tree(directory) == []
        assert spool(directory) == []
    finally:
        store.close()


async def test_a_file_that_is_missing_in_the_spool_is_told_as_that(
    directory: Path, way: str
) -> None:
    def remove() -> None:
        for name in spool(directory):
            (directory / ".galileod/spool" / name).unlink()

    with opened(directory) as store:
        with pytest.raises(StorageError, match="another program has removed the file"):
            await put(store, "a/b/x", way, remove)
        assert tree(directory) == []


def test_threads_that_make_and_remove_the_same_folders_do_not_lose_a_file(directory: Path) -> None:
    """Each round publishes a file and removes it with its folders, in four threads."""
    store, failures, rounds = open_local(directory), list[object](), 40

    def work(worker: int) -> None:
        file, parts = (
            WholeFile(f"{worker}", f"a/b/{worker}", [CONTENT], (), "reject", "none"),
            store,
        )
        for _ in range(rounds):
            (stored,) = parts._whole.publish(parts._whole.write([file]))  # type: ignore[arg-type]
            if not isinstance(stored, Stored) or not (directory / stored.name).exists():
                failures.append(stored)
                return
            removed = folders_and_file(parts, stored.name)
            if removed != [Removed(stored.name, found=True)]:
                failures.append(removed)

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(4)]
    with capture_logs() as logs:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    store.close()
    assert failures == []
    assert logs == []
    assert tree(directory) == []


def folders_and_file(store: LocalStore, name: str) -> object:
    return remove(store._parts, [name], ["a", "a/b"])


@pytest.mark.parametrize("on_conflict", ["rename", "reject", "replace"])
@pytest.mark.parametrize("level", ["a", "a/b", "a/b/c"])
@pytest.mark.parametrize("when", ["before", "between"])
@pytest.mark.parametrize("what", ["file", "link", "dangling"])
async def test_what_is_no_folder_is_a_conflict_at_every_level(
    directory: Path, way: str, on_conflict: OnConflict, level: str, when: str, what: str
) -> None:
    elsewhere = directory.parent / "elsewhere"
    (elsewhere / "b/c").mkdir(parents=True)
    before = sorted(elsewhere.rglob("*"))
    (directory / "a/b/c").mkdir(parents=True)

    def put_in_the_way() -> None:
        (directory / level).rename(directory / "moved")
        if what == "file":
            (directory / level).write_bytes(b"")
        else:
            (directory / level).symlink_to(elsewhere if what == "link" else "nowhere")

    store = open_local(directory, on_conflict)
    try:
        if when == "before":
            put_in_the_way()
        with pytest.raises(ConflictError, match=rf"^{level} is not a folder$"):
            await put(store, "a/b/c/x", way, int if when == "before" else put_in_the_way)
        assert spool(directory) == []
    finally:
        store.close()
    assert sorted(elsewhere.rglob("*")) == before
    assert not (directory / "nowhere").exists()


@pytest.mark.parametrize("on_conflict", ["rename", "reject", "replace"])
async def test_a_folder_where_a_file_is_to_be_is_a_conflict_or_gives_another_name(
    directory: Path, way: str, on_conflict: OnConflict
) -> None:
    (directory / "a/b").mkdir(parents=True)
    store = open_local(directory, on_conflict)
    try:
        if on_conflict == "rename":
            assert (await put(store, "a/b", way)).name == "a/b (1)"
        else:
            with pytest.raises(ConflictError, match=r"b (is a directory|exists already)"):
                await put(store, "a/b", way)
    finally:
        store.close()
    assert (directory / "a/b").is_dir()


@pytest.mark.parametrize("name", ["GALILE~1/x", "\u200c.galileod/spool/x"])
async def test_the_state_directory_is_not_reached_by_any_name(
    directory: Path, way: str, name: str
) -> None:
    """On vfat and some others it has further names; tests/filesystems has a real one."""
    with opened(directory) as store:
        alias = name.split("/", maxsplit=1)[0]
        real = os.open

        def open_by_alias(path: str, *args: int, dir_fd: int | None = None) -> int:
            return real(".galileod" if path == alias else path, *args, dir_fd=dir_fd)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "open", open_by_alias)
            with pytest.raises(ConflictError, match="is the directory in which galileod keeps"):
                await put(store, name, way)
            assert await store.look([name, f"{alias}/lock"]) == [None, None]
            assert await store.remove([f"{alias}/lock"], [f"{alias}/spool"]) == [
                Removed(f"{alias}/lock", found=False)
            ]
        assert sorted(os.listdir(directory / ".galileod")) == ["lock", "spool"]


async def test_the_names_of_all_new_folders_are_durable_before_the_file_is_stored(
    directory: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, real = list[str](), os.fsync

    def fsync(fd: int) -> None:
        calls.append(os.readlink(f"/proc/self/fd/{fd}").removeprefix(str(directory)))
        real(fd)

    with opened(directory) as store:
        await put(store, "a/b/x", way, lambda: monkeypatch.setattr(os, "fsync", fsync))
        assert calls == ["", "/a", "/a/b"]
        await put(store, "a/b/y", way)
        assert calls[3:] == [calls[3], "/a/b"]
        assert calls[3].startswith("/.galileod/spool/")


async def test_each_file_of_a_batch_is_in_its_own_folder(directory: Path) -> None:
    paths = [f"{at % 7}/{at % 5}/x" for at in range(64)]
    with opened(directory) as store:
        results = await put_all(store, paths)
        names = [one.name for one in results if isinstance(one, Stored)]
        assert len(set(names)) == 64
        assert {*names} == {*listed(store)}
        assert [name.rpartition("/")[0] for name in names] == [
            path.rpartition("/")[0] for path in paths
        ]


async def test_a_path_that_no_program_could_open_is_refused(tmp_path: Path, way: str) -> None:
    directory = tmp_path
    while len(str(directory)) < 3000:
        directory = directory / ("d" * 200)
        directory.mkdir()
    room = 4095 - len(str(directory)) - 1 - len(" (9999)")
    longest = "/".join(["x" * 199] * 5)[: room - 2].rstrip("/") + "/"
    longest += "n" * (room - len(longest))
    with opened(directory) as store:
        assert (await put(store, longest, way)).name == longest
        refused = pytest.raises(BadNameError, match=r"^the path has 4096 bytes, and the system ")
        with refused:
            await put(store, f"{longest}n", way)
        with refused:
            await store.admit(f"{longest}n", "rename")
        assert listed(store) == {longest: len(CONTENT)}


async def test_folders_that_the_filesystem_does_not_accept_are_refused_before_there_is_data(
    directory: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(directory) as store:
        store._spool.any_name = False
        monkeypatch.setattr(store._spool, "accepts", lambda name: "\u00e9" not in name)
        refused = pytest.raises(BadNameError, match="does not accept the name \u00e9")
        with refused:
            await put(store, "a/\u00e9/x", way)
        with refused:
            await store.admit("a/\u00e9/x", "rename")
        assert (await put(store, "a/b/x", way)).made == ("a", "a/b")
        (directory / "a/\u00e9").mkdir()
        assert (await put(store, "a/\u00e9/x", way)).name == "a/\u00e9/x"
