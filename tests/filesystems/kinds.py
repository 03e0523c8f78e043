"""The filesystems that the tests run on: what each one needs, and how it is mounted."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import pytest
from attrs import field, frozen
from filesystems.mounting import MIB, Mounts, run
from helpers.missing import find, leave_out

SFTP_SERVER: Final = "/usr/lib/openssh/sftp-server"

CAP_SYS_ADMIN: Final = 21
"""Its bit in a set of capabilities."""

FUSE: Final = "fuse"
LOOP: Final = "loop"
DEVICES: Final = {FUSE: Path("/dev/fuse"), LOOP: Path("/dev/loop-control")}


@frozen
class Mounted:
    """A mounted filesystem: `root` is its directory, and `disk` what is full if it is full."""

    kind: "Kind"
    root: Path
    disk: Path
    mounts: Mounts


@frozen
class Kind:
    """One filesystem. `mount` returns `root` and `disk` of a `Mounted`.

    `programs` names the Debian package of each program, and `kernel` what the kernel must have:
    names in /proc/filesystems.
    """

    name: str
    mount: Callable[[Mounts], tuple[Path, Path]] = field(repr=False)
    kernel: tuple[str, ...]
    programs: Mapping[str, str] = {}
    modes: bool = True
    """Whether a file keeps the mode that it is given."""
    feature: str | None = None
    """A file that exists if the kernel has a feature that not every kernel has."""

    @property
    def devices(self) -> list[Path]:
        """The devices that it needs."""
        image = {"ext4", "xfs", "btrfs", "vfat"} & {*self.kernel}
        return [DEVICES[FUSE]] * (FUSE in self.kernel) + [DEVICES[LOOP]] * bool(image)


def require(kind: Kind) -> None:
    """Skip the test if the kernel has no such filesystem, or something is not installed.

    What is not installed is a failure in CI.
    """
    if not _may_mount():
        leave_out(f"{kind.name}: mounting needs root, in a container also the capability SYS_ADMIN")
    for name in kind.kernel:
        if find("modprobe"):
            _load(name)
        if name not in Path("/proc/filesystems").read_text().split():
            pytest.skip(f"{kind.name}: this kernel has no {name}")
    if kind.feature is not None and not Path(kind.feature).exists():
        pytest.skip(f"{kind.name}: this kernel has no {kind.feature}")
    for program, package in kind.programs.items():
        if find(program) is None:
            leave_out(f"{kind.name} needs {program}: install Debian's package {package}")
    for device in kind.devices:
        if not device.exists():
            leave_out(f"{kind.name} needs the device {device}")


def _may_mount() -> bool:
    effective = Path("/proc/self/status").read_text().partition("CapEff:")[2].split()[0]
    return bool(int(effective, 16) >> CAP_SYS_ADMIN & 1)


def _load(module: str) -> None:
    try:
        run("modprobe", "--quiet", module)
    except AssertionError:
        pass  # built in, or not there at all: /proc/filesystems tells which


def _small(mounts: Mounts) -> Path:
    """The filesystem below one that has no disk of its own."""
    return mounts.mount("tmpfs", "tmpfs", "size=48m")


def _tmpfs(mounts: Mounts) -> tuple[Path, Path]:
    return (_small(mounts),) * 2


def _ext4(mounts: Mounts) -> tuple[Path, Path]:
    return (mounts.mount("ext4", mounts.image(64 * MIB, "mkfs.ext4", "-q"), "loop"),) * 2


def _ext4_casefold(mounts: Mounts) -> tuple[Path, Path]:
    image = mounts.image(64 * MIB, "mkfs.ext4", "-q", "-O", "casefold")
    disk = mounts.mount("ext4", image, "loop")
    root = disk / "folded"
    root.mkdir()
    run("chattr", "+F", root)
    return root, disk


def _xfs(mounts: Mounts) -> tuple[Path, Path]:
    return (mounts.mount("xfs", mounts.image(300 * MIB, "mkfs.xfs", "-q"), "loop"),) * 2


def _btrfs(mounts: Mounts) -> tuple[Path, Path]:
    return (mounts.mount("btrfs", mounts.image(128 * MIB, "mkfs.btrfs", "-q"), "loop"),) * 2


def _vfat(mounts: Mounts) -> tuple[Path, Path]:
    return (mounts.mount("vfat", mounts.image(64 * MIB, "mkfs.vfat"), "loop", "utf8"),) * 2


def _overlay(mounts: Mounts, disk: Path | None = None) -> tuple[Path, Path]:
    disk = disk or _small(mounts)
    lower, upper, work = disk / "lower", disk / "upper", disk / "work"
    for path in (lower, upper, work):
        path.mkdir()
    options = f"lowerdir={lower}", f"upperdir={upper}", f"workdir={work}"
    return mounts.mount("overlay", "overlay", *options), disk


def _overlay_on_btrfs(mounts: Mounts) -> tuple[Path, Path]:
    disk, _ = _btrfs(mounts)
    return _overlay(mounts, disk)


def _bindfs(mounts: Mounts) -> tuple[Path, Path]:
    disk = _small(mounts)
    return mounts.run(lambda path: ("bindfs", disk, path)), disk


def mergerfs(mounts: Mounts, *options: str) -> tuple[Path, Path]:
    """Two branches on one disk; free space on neither is held back."""
    disk = _small(mounts)
    branches = disk / "one", disk / "two"
    for branch in branches:
        branch.mkdir()
    settings = ",".join(("minfreespace=0", *options))
    source = ":".join(map(str, branches))
    return mounts.run(lambda path: ("mergerfs", "-o", settings, source, path)), disk


def _mergerfs_uncached(mounts: Mounts) -> tuple[Path, Path]:
    return mergerfs(mounts, "cache.files=off")


def _sshfs(mounts: Mounts, *options: str) -> tuple[Path, Path]:
    disk = _small(mounts)
    # Takes the place of ssh: the server runs here, without a network.
    server = mounts.directory() / "sftp"
    server.write_text(f"#!/bin/sh\nexec {SFTP_SERVER}\n")
    server.chmod(0o700)
    settings = ",".join((f"ssh_command={server}", *options))
    return mounts.run(lambda path: ("sshfs", "-o", settings, f"localhost:{disk}", path)), disk


def _sshfs_direct(mounts: Mounts) -> tuple[Path, Path]:
    return _sshfs(mounts, "direct_io")


def _ntfs(mounts: Mounts) -> tuple[Path, Path]:
    image = mounts.image(96 * MIB, "mkfs.ntfs", "-Q", "-F", "-q")
    return (mounts.run(lambda path: ("ntfs-3g", image, path)),) * 2


def _ntfs_any_case(mounts: Mounts) -> tuple[Path, Path]:
    image = mounts.image(96 * MIB, "mkfs.ntfs", "-Q", "-F", "-q")
    return (mounts.run(lambda path: ("lowntfs-3g", "-o", "ignore_case", image, path)),) * 2


_E2FSPROGS: Final = {"mkfs.ext4": "e2fsprogs", "chattr": "e2fsprogs"}
_NTFS: Final = {
    "mkfs.ntfs": "ntfs-3g", "ntfs-3g": "ntfs-3g", "lowntfs-3g": "ntfs-3g",
}  # fmt: skip
_MERGERFS: Final = {"mergerfs": "mergerfs"}
_SSHFS: Final = {"sshfs": "sshfs", SFTP_SERVER: "openssh-sftp-server"}

TMPFS: Final = Kind("tmpfs", _tmpfs, ("tmpfs",))
BTRFS: Final = Kind("btrfs", _btrfs, ("btrfs",), {"mkfs.btrfs": "btrfs-progs"})
NTFS: Final = Kind("ntfs-3g", _ntfs, (FUSE,), _NTFS, modes=False)
MERGERFS: Final = Kind("mergerfs", mergerfs, (FUSE, "tmpfs"), _MERGERFS)
EXT4: Final = Kind("ext4", _ext4, ("ext4",), _E2FSPROGS)

KINDS: Final = (
    TMPFS,
    EXT4,
    Kind(
        "ext4-casefold", _ext4_casefold, ("ext4",), _E2FSPROGS,
        feature="/sys/fs/ext4/features/casefold",
    ),
    Kind("xfs", _xfs, ("xfs",), {"mkfs.xfs": "xfsprogs"}),
    BTRFS,
    Kind("vfat", _vfat, ("vfat",), {"mkfs.vfat": "dosfstools"}, modes=False),
    Kind("overlay", _overlay, ("overlay", "tmpfs")),
    Kind(
        "overlay-btrfs", _overlay_on_btrfs, ("overlay", "btrfs"), {"mkfs.btrfs": "btrfs-progs"}
    ),
    Kind("bindfs", _bindfs, (FUSE, "tmpfs"), {"bindfs": "bindfs"}),
    MERGERFS,
    Kind("mergerfs-uncached", _mergerfs_uncached, (FUSE, "tmpfs"), _MERGERFS),
    Kind("sshfs", _sshfs, (FUSE, "tmpfs"), _SSHFS),
    Kind("sshfs-direct", _sshfs_direct, (FUSE, "tmpfs"), _SSHFS),
    NTFS,
    Kind("lowntfs-3g-ignore-case", _ntfs_any_case, (FUSE,), _NTFS, modes=False),
)  # fmt: skip
