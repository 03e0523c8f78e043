"""Opening a directory: the state in it, the lock, and what a crash left behind."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.disk import descriptors, faulty, nth
from helpers.local_store import open_local, put, spool, visible
from structlog.testing import capture_logs

from galileod.storage.errors import StorageError
from galileod.storage.local import LocalStore

pytestmark = pytest.mark.timeout(20)

STATE = (".galileod", ".galileod/spool", ".galileod/lock")

OpenStore = Callable[..., LocalStore]


async def test_the_file_is_0640_and_the_state_directory_0700_whatever_the_umask(
    open_store: OpenStore, directory: Path
) -> None:
    before = os.umask(0o077)
    try:
        await put(open_store())
    finally:
        os.umask(before)
    modes = {
        path: stat.S_IMODE((directory / path).stat().st_mode)
        for path in ("a.bin", ".galileod", ".galileod/spool")
    }
    assert modes == {"a.bin": 0o640, ".galileod": 0o700, ".galileod/spool": 0o700}


def test_a_state_directory_that_others_could_read_is_closed_to_them(
    open_store: OpenStore, directory: Path
) -> None:
    (directory / ".galileod").mkdir(parents=True, mode=0o755)
    open_store()
    assert stat.S_IMODE((directory / ".galileod").stat().st_mode) == 0o700


@pytest.mark.by_sink
async def test_the_spool_file_is_private_until_commit(
    open_store: OpenStore, directory: Path
) -> None:
    async with await open_store().create("1", "a.bin"):
        assert stat.S_IMODE((directory / ".galileod/spool/1").stat().st_mode) == 0o600


def test_a_directory_is_held_by_one_store_at_a_time(directory: Path) -> None:
    first = open_local(directory)
    with pytest.raises(StorageError, match="another galileod"):
        open_local(directory)
    first.close()
    open_local(directory).close()


def test_a_start_that_is_refused_leaves_the_other_ones_spool_alone(
    open_store: OpenStore, directory: Path
) -> None:
    open_store()
    (directory / ".galileod/spool/running").write_bytes(b"half")
    with pytest.raises(StorageError, match="another galileod"):
        open_store()
    assert spool(directory) == ["running"]


def test_a_start_clears_what_a_crash_left_in_the_spool(
    open_store: OpenStore, directory: Path
) -> None:
    (directory / ".galileod/spool").mkdir(parents=True)
    for name in ("one", "two"):
        (directory / ".galileod/spool" / name).write_bytes(b"half")
    (directory / "whole.bin").write_bytes(b"whole")
    with capture_logs() as logs:
        open_store()
    assert spool(directory) == []
    assert visible(directory) == {"whole.bin": b"whole"}
    assert [(line["event"], line["files"]) for line in logs] == [("spool.cleared", 2)]


@pytest.mark.parametrize(
    ("entry", "kind"),
    [
        *((entry, kind) for entry in STATE for kind in ("link", "dangling link")),
        (".galileod", "file"),
        (".galileod/spool", "file"),
        (".galileod/lock", "directory"),
    ],
)
def test_what_stands_in_the_place_of_our_own_entries_is_refused(
    open_store: OpenStore, directory: Path, tmp_path: Path, entry: str, kind: str
) -> None:
    path = directory / entry
    path.parent.mkdir(parents=True)
    target = tmp_path / "elsewhere"
    if kind == "link":
        target.mkdir()
    match kind:
        case "link" | "dangling link":
            path.symlink_to(target)
        case "file":
            path.write_bytes(b"")
        case "directory":
            path.mkdir()
    with pytest.raises(StorageError, match=r"cannot use .*galileod-files"):
        open_store()
    assert not target.exists() or not os.listdir(target)


def test_what_is_no_directory_is_refused(open_store: OpenStore, directory: Path) -> None:
    directory.write_bytes(b"")
    with pytest.raises(StorageError, match="cannot use"):
        open_store()
    with pytest.raises(StorageError, match="cannot use"):
        open_store(at=directory / "below")


# Further calls of unlink may fail: recovery removes what they leave.
OPENING = {
    "makedirs": range(1, 2), "open": range(1, 8), "mkdir": range(1, 3), "fchmod": range(1, 4),
    "rename_noreplace": range(1, 2), "listdir": range(1, 2), "unlink": range(1, 6, 2),
}  # fmt: skip


@pytest.mark.parametrize(("function", "calls"), OPENING.items())
def test_a_start_that_fails_leaks_nothing_and_the_next_one_succeeds(
    directory: Path, function: str, calls: range
) -> None:
    (directory / ".galileod/spool").mkdir(parents=True)
    (directory / ".galileod/spool/left").write_bytes(b"half")
    before = descriptors()
    for call in calls:
        (directory / ".galileod/spool/left").write_bytes(b"half")
        with faulty(function, nth(call)) as disk, pytest.raises(StorageError, match="cannot"):
            open_local(directory)
        assert disk.calls >= call
        assert descriptors() == before
    store = open_local(directory)
    assert spool(directory) == []
    store.close()
    assert descriptors() == before


def test_a_start_that_finds_the_directory_held_leaks_nothing(
    open_store: OpenStore,
) -> None:
    open_store()
    before = descriptors()
    with pytest.raises(StorageError, match="another galileod"):
        open_store()
    assert descriptors() == before
