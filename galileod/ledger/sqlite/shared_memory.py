"""Whether SQLite may keep shared memory (mmap) in a file, through which processes share its log."""

import ctypes
import os
from typing import Final

SUPPORTED: Final = {
    0xEF53: "ext2, ext3, ext4",
    0x58465342: "xfs",
    0x01021994: "tmpfs",
}
"""Filesystems on which writing to mapped pages needs no free space once the file has its size.

On others it is not safe. Some FUSE filesystems cannot map files. Those that copy on write (btrfs,
zfs, bcachefs) kill a process that writes to mapped memory while the disk is full (SIGBUS).
overlayfs does not tell which filesystem is below it.
"""

FAILS_AT_ONCE: Final = {
    0x9123683E: "btrfs",
    0x2FC12FC1: "zfs",
    0xCA451A4E: "bcachefs",
    0x794C7630: "overlayfs",  # on top of a local filesystem
}
"""Other filesystems on which write(2) itself fails if the disk is full.

On the rest, such as sshfs and NFS, only a later fsync may fail, and the data of the write is lost.
"""

_SIZE: Final = 512
"""More bytes than `struct statfs` has on any platform."""

# statfs(2) is specific to Linux, and Python does not wrap it: os.statvfs lacks the type.
_statfs = getattr(ctypes.CDLL(None, use_errno=True), "statfs", None)
if _statfs is not None:
    _statfs.argtypes = [ctypes.c_char_p, ctypes.c_char_p]
    _statfs.restype = ctypes.c_int


def supports_shared_memory(directory: str) -> bool:
    """Whether a file in the directory may be used as shared memory. Raises OSError. Blocks."""
    return filesystem_type(directory) in SUPPORTED


def fails_at_once(directory: str) -> bool:
    """Whether a write of a file in the directory reports its own errors. Raises OSError. Blocks."""
    return filesystem_type(directory) in SUPPORTED | FAILS_AT_ONCE


def filesystem_type(directory: str) -> int | None:
    """The number of the filesystem's type; None if the system does not tell it."""
    if _statfs is None:
        return None
    status = ctypes.create_string_buffer(_SIZE)
    if _statfs(os.fsencode(directory), status) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), directory)
    return ctypes.c_long.from_buffer(status).value  # the first field
