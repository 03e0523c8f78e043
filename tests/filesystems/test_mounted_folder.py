"""Another filesystem, mounted on a folder inside the daemon's directory."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from attrs import field, frozen
from filesystems.hosts import Placed, check_ledger, configured, send, stored
from filesystems.kinds import BTRFS, MERGERFS, NTFS, TMPFS, Kind, require
from filesystems.mounting import Mounts, run
from filesystems.test_full import check_full
from filesystems.test_kill import check_kills
from helpers.clients import expect_fault, expect_ready, open_websocket, say, some_bytes
from helpers.daemon import Daemon, poll
from helpers.watching import CLOSE_WRITE, MOVED_TO, watching

LAYOUT: Final = "{user}/{name}"
FOLDER: Final = "127.0.0.1"
LARGE: Final = some_bytes(1_500_000)
AT_ONCE: Final = 8


@frozen
class Inner:
    """What is mounted on a folder, and the filesystem that the folder is in."""

    name: str
    outer: Kind
    mount: Callable[[Mounts, Path], Path] = field(repr=False)
    """Mounts on the folder; returns a directory on the disk that is full if the folder's is."""
    needs: Kind = TMPFS


def _tmpfs(mounts: Mounts, folder: Path) -> Path:
    command = ("mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", folder)
    return mounts.run(lambda _: command, folder)


def _bind(mounts: Mounts, folder: Path) -> Path:
    other = folder.parents[1] / "other"
    other.mkdir()
    return mounts.run(lambda _: ("mount", "--bind", other, folder), folder)


def _subvolume(_: Mounts, folder: Path) -> Path:
    folder.rmdir()
    run("btrfs", "subvolume", "create", folder)
    return folder


def _ntfs(mounts: Mounts, folder: Path) -> Path:
    root, _ = NTFS.mount(mounts)
    return mounts.run(lambda _: ("mount", "--bind", root, folder), folder)


def _on_another_branch(_: Mounts, folder: Path) -> Path:
    """The folder is on one branch of mergerfs alone, and the state directory on another."""
    directory = folder.parent
    root = next(path for path in directory.parents if path.is_mount())
    folder.rmdir()
    branches = os.getxattr(root / ".mergerfs", "user.mergerfs.branches").decode().split(":")
    one, two = (Path(branch.partition("=")[0]) / directory.relative_to(root) for branch in branches)
    (one / ".galileod").mkdir(parents=True, mode=0o700)
    (two / folder.name).mkdir(parents=True)
    return folder


INNER: Final = (
    Inner("tmpfs", TMPFS, _tmpfs),
    Inner("bind mount", TMPFS, _bind),
    Inner("subvolume", BTRFS, _subvolume),
)
UNFIT: Final = (
    Inner("ntfs-3g", TMPFS, _ntfs, NTFS),
    Inner("mergerfs", MERGERFS, _on_another_branch, MERGERFS),
)
"""Without O_TMPFILE, what is copied there would be visible before it is complete."""


@pytest.fixture(scope="module", params=INNER, ids=lambda inner: inner.name)
def inner(request: pytest.FixtureRequest) -> Inner:
    inner: Inner = request.param
    return inner


@frozen
class Parts:
    """A daemon that is not started, its folder that is mounted, and the disk of that folder."""

    host: Daemon
    folder: Path
    disk: Path


@contextmanager
def placed(inner: Inner, tmp_path: Path) -> Iterator[Parts]:
    require(inner.outer)
    require(inner.needs)
    with Mounts(tmp_path) as mounts:
        root, _ = inner.outer.mount(mounts)
        with Placed(root, tmp_path) as hosts:
            host = hosts.make(layout=LAYOUT)
            folder = host.directory / FOLDER
            folder.mkdir(parents=True)
            with Mounts(tmp_path) as mounted:
                disk = inner.mount(mounted, folder)
                yield Parts(host, folder, disk)
                host.kill()


@pytest.fixture
def parts(inner: Inner, tmp_path: Path) -> Iterator[Parts]:
    with placed(inner, tmp_path) as parts:
        yield parts


def test_files_are_stored_renamed_replaced_and_rejected_in_it(parts: Parts) -> None:
    host = parts.host.start()
    with watching(parts.folder) as watch:
        assert stored(host, "a.bin", LARGE) == parts.folder / "a.bin"
        events = watch.events()
        assert "a.bin" in [name for mask, name in events if mask & (CLOSE_WRITE | MOVED_TO)]
    assert stored(host, "a.bin", b"") == parts.folder / "a (1).bin"
    contents = [some_bytes(100_000, seed) for seed in range(AT_ONCE)]
    with ThreadPoolExecutor(AT_ONCE) as threads:
        paths = list(threads.map(lambda content: stored(host, "b.bin", content), contents))
    assert [path.read_bytes() for path in paths] == contents
    check_ledger(host)
    with configured(host, on_conflict="replace"):
        assert stored(host, "a.bin", b"second") == parts.folder / "a.bin"
        with ThreadPoolExecutor(AT_ONCE) as threads:
            outcomes = list(threads.map(lambda content: send(host, "b.bin", content), contents))
        assert {outcome.ending for outcome in outcomes} == {"stored"}
        assert (parts.folder / "b.bin").read_bytes() in contents
    check_ledger(host)
    with configured(host, on_conflict="reject"), open_websocket(host.url) as websocket:
        say(websocket, name="c.bin", size=5)
        expect_ready(websocket)
        stored(host, "c.bin", LARGE)
        assert send(host, "c.bin", b"later").code == "conflict"
        websocket.send(b"early")
        expect_ready(websocket)
        say(websocket, finished=True)
        expect_fault(websocket, "conflict")
    assert (parts.folder / "c.bin").read_bytes() == LARGE
    check_ledger(host)
    assert poll("an empty spool", lambda: not host.spooled())
    assert not [name for name in os.listdir(parts.folder) if name.startswith(".")]
    assert host.stop() == 0


def test_only_complete_files_survive_a_kill_in_it(parts: Parts) -> None:
    check_kills(parts.host, FOLDER)


def test_its_disk_may_be_full(parts: Parts) -> None:
    check_full(parts.host.start(), parts.disk)


@pytest.mark.parametrize("unfit", UNFIT, ids=lambda inner: inner.name)
def test_a_folder_that_can_take_no_complete_file_is_refused_before_any_data(
    unfit: Inner, tmp_path: Path
) -> None:
    with placed(unfit, tmp_path) as parts:
        host = parts.host.start()
        outcome = send(host, "a.bin", LARGE)
        assert outcome.code == "storage_failed", outcome
        assert not outcome.trace
        assert os.listdir(parts.folder) == []
        with configured(host, layout="{name}"):
            stored(host, "a.bin", LARGE)
        check_ledger(host)
        host.stderr.unlink()  # the storage's error was expected
