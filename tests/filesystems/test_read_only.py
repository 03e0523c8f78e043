"""A filesystem that becomes read-only while the daemon runs."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from filesystems.hosts import Placed, check_ledger, healthy, send, stored
from filesystems.kinds import EXT4, MERGERFS, require
from filesystems.mounting import MIB, Mounts
from helpers.daemon import Daemon, poll


@pytest.fixture
def mounts(tmp_path: Path) -> Iterator[Mounts]:
    with Mounts(tmp_path) as mounts:
        yield mounts


def check_refused(host: Daemon) -> None:
    """No upload begins, unless it is small, and the health tells why none does."""
    outcome = send(host, "small", b"refused")
    assert outcome.code == "storage_failed", outcome
    outcome = send(host, "refused", bytes(300_000))
    assert outcome.code == "storage_failed", outcome
    assert "chunk" not in {kind for kind, _ in outcome.trace}
    assert not healthy(host)
    assert sorted(host.visible()) == ["before"]


def test_uploads_are_refused_until_the_filesystem_is_writable_again(
    mounts: Mounts, tmp_path: Path
) -> None:
    require(MERGERFS)
    root, disk = MERGERFS.mount(mounts)

    def allow(mode: str) -> None:
        # mount(8) makes nothing read-only that has files open for writing, as the daemon has.
        branches = ":".join(f"{disk / name}={mode}" for name in ("one", "two"))
        os.setxattr(root / ".mergerfs", "user.mergerfs.branches", branches.encode())

    with Placed(root, tmp_path) as placed:
        host = placed.make().start()
        stored(host, "before", b"before")
        assert healthy(host)
        allow("RO")
        check_refused(host)
        allow("RW")
        poll("health", lambda: healthy(host), host.text)
        stored(host, "after", b"after")
        check_ledger(host)
        host.stderr.unlink()  # the storage's errors were expected


def test_a_filesystem_with_an_error_takes_uploads_after_it_was_mounted_again(
    mounts: Mounts, tmp_path: Path
) -> None:
    require(EXT4)
    image = mounts.image(64 * MIB, "mkfs.ext4", "-q")
    root = mounts.directory()
    mount = ("mount", "-t", "ext4", "-o", "loop,errors=remount-ro", image, root)
    with Placed(root, tmp_path) as placed:
        with Mounts(tmp_path) as broken:
            broken.run(lambda _: mount, root)
            host = placed.make().start()
            stored(host, "before", b"before")
            fail(root)
            check_refused(host)
            host.stop()
        with Mounts(tmp_path) as mended:
            mended.run(lambda _: mount, root)
            host.start()
            assert healthy(host)
            assert (host.directory / "before").read_bytes() == b"before"
            stored(host, "after", b"after")
            check_ledger(host)
            assert host.stop() == 0


def fail(root: Path) -> None:
    """Let ext4 find an error, for which it makes itself read-only."""
    device = os.stat(root).st_dev
    name = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}").resolve().name
    Path(f"/sys/fs/ext4/{name}/trigger_fs_error").write_text("by a test")
