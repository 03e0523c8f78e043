"""The directory of an open store is locked, and compared with what is at its path."""

import errno
import fcntl
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from helpers.disk import descriptors
from helpers.local_store import DATA, open_local, put, spool, visible
from structlog.testing import capture_logs

from galileod.policy.publication import OnConflict
from galileod.storage.errors import StorageError
from galileod.storage.local import LocalStore
from galileod.storage.local.timing import Timings

pytestmark = pytest.mark.timeout(20)

OpenStore = Callable[..., LocalStore]


def move_aside(directory: Path) -> Path:
    return directory.rename(directory.with_name("galileod-files-aside"))


def make_anew(directory: Path) -> None:
    directory.mkdir()


@contextmanager
def replaced(directory: Path) -> Iterator[Path]:
    """Another directory is at the path; gives where the store's own is."""
    aside = move_aside(directory)
    make_anew(directory)
    yield aside
    directory.rmdir()
    aside.rename(directory)


async def test_nothing_begins_or_is_published_while_another_directory_is_at_the_path(
    open_store: OpenStore, directory: Path
) -> None:
    store = open_store()
    async with await store.create("1", "a.bin") as sink:
        await sink.write([DATA])
        await sink.prepare()
        with capture_logs() as logs, replaced(directory) as aside:
            for step in (
                store.check,
                store.free,
                lambda: store.create("2", "b.bin"),
                sink.commit,
                store.check,
            ):
                with pytest.raises(StorageError, match=r"storage\.directory .*restart galileod"):
                    await step()
            assert visible(aside) == {}
            # One that is stored in one step is discarded at once.
            assert spool(aside) in (["1"], [])
    assert [(line["event"], line["path"]) for line in logs] == [
        ("storage.directory_changed", str(directory))
    ]
    with capture_logs() as logs:
        await store.check()
        assert await put(store) == "a.bin"
    assert [(line["event"], line["log_level"]) for line in logs] == [
        ("storage.directory_restored", "info")
    ]
    assert spool(directory) == []


async def test_a_path_that_leads_nowhere_says_why(open_store: OpenStore, directory: Path) -> None:
    store = open_store()
    move_aside(directory)
    with pytest.raises(StorageError, match=r"reached .*\(No such file or directory\)"):
        await store.check()


async def test_a_directory_that_was_removed_is_not_made_anew(
    open_store: OpenStore, directory: Path
) -> None:
    store = open_store()
    shutil.rmtree(directory)
    with pytest.raises(StorageError, match="cannot be reached"):
        await put(store)
    make_anew(directory)
    with pytest.raises(StorageError, match="another directory"):
        await put(store)
    assert os.listdir(directory) == []


@pytest.mark.parametrize("on_conflict", ["rename", "reject", "replace"])
async def test_a_file_is_withdrawn_if_the_directory_changes_while_it_is_published(
    directory: Path, on_conflict: OnConflict
) -> None:
    asides: list[Path] = []

    def after_fsync(_seconds: float) -> None:
        asides.append(move_aside(directory))

    store = open_local(directory, on_conflict, timings=Timings(fsync_directory=after_fsync))
    with pytest.raises(StorageError, match="cannot be reached"):
        await put(store)
    # As after a failed fsync, a file that may have replaced another one stays.
    [aside] = asides
    assert visible(aside) == ({"a.bin": DATA} if on_conflict == "replace" else {})
    assert spool(aside) == []
    store.close()


def test_the_directory_itself_is_locked(open_store: OpenStore, directory: Path) -> None:
    open_store()
    (directory / ".galileod/lock").unlink()
    with pytest.raises(StorageError, match=r"another galileod uses .*galileod-files"):
        open_store()


def test_a_daemon_that_locks_only_the_lock_file_is_noticed(
    open_store: OpenStore, directory: Path
) -> None:
    (directory / ".galileod").mkdir(parents=True)
    with (directory / ".galileod/lock").open("w") as older:
        fcntl.flock(older, fcntl.LOCK_EX)
        before = descriptors()
        with pytest.raises(StorageError, match=r"another galileod uses .*galileod-files"):
            open_store()
        assert descriptors() == before
    open_store()


@pytest.mark.parametrize("code", [errno.EBADF, errno.ENOLCK, errno.EOPNOTSUPP])
def test_on_a_filesystem_that_cannot_lock_directories_the_lock_file_is_enough(
    open_store: OpenStore, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    real = fcntl.flock

    def flock(fd: int, operation: int) -> None:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(code, os.strerror(code))
        real(fd, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    open_store()
    with pytest.raises(StorageError, match="another galileod"):
        open_store()


def test_a_lock_that_fails_for_another_reason_refuses_the_start(
    open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(_fd: int, _operation: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(StorageError, match=r"cannot use .*Input/output error"):
        open_store()
