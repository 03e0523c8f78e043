"""renameat2(2) with RENAME_NOREPLACE, which Python does not wrap."""

import ctypes
import errno
import os
from typing import Final

_RENAME_NOREPLACE: Final = 1

_renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
if _renameat2 is not None:
    _renameat2.argtypes = [
        ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint,
    ]  # fmt: skip
    _renameat2.restype = ctypes.c_int

UNSUPPORTED: Final = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}
"""Errors by which a kernel or a filesystem (most on FUSE) says that it has no such rename."""


def rename_noreplace(source: str, target: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
    """Rename `source` to `target`, unless `target` exists.

    Raises FileExistsError if it does, another OSError if renaming fails, and one with a code of
    UNSUPPORTED if the C library, the kernel or the filesystem cannot do this.
    """
    if _renameat2 is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    old, new = os.fsencode(source), os.fsencode(target)
    if _renameat2(src_dir_fd, old, dst_dir_fd, new, _RENAME_NOREPLACE) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
