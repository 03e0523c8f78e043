"""Project quotas (ext4, xfs): the project that files in a folder belong to."""

import fcntl
import struct
from typing import Final

_FS_IOC_FSGETXATTR: Final = 0x801C581F
_FSXATTR: Final = struct.Struct("=5I8x")
"""Flags, extent size, number of extents, project, extent size for copying; from linux/fs.h."""

_PROJINHERIT: Final = 0x200


def inherited_project(folder_fd: int) -> int | None:
    """The project that new files in the folder get; None if they inherit none.

    A file of another project cannot be renamed or linked into the folder.
    """
    try:
        answer = fcntl.ioctl(folder_fd, _FS_IOC_FSGETXATTR, bytes(_FSXATTR.size))
    except OSError:
        return None  # most filesystems have no projects
    flags, _, _, project, _ = _FSXATTR.unpack(answer)
    return project if flags & _PROJINHERIT else None
