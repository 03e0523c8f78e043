"""Starting to write a file's pages out, without waiting for it."""

import ctypes
from typing import Final

_SYNC_FILE_RANGE_WRITE: Final = 2

# Linux has this call (sync_file_range(2)); Python has no name for it.
_sync_file_range = getattr(ctypes.CDLL(None), "sync_file_range", None)
if _sync_file_range is not None:
    _sync_file_range.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
    _sync_file_range.restype = ctypes.c_int


def start_writeback(fd: int, offset: int, length: int) -> None:
    """Ask the kernel to begin writing these bytes, so that a later fsync finds little left.

    Only a hint: a kernel or filesystem that will not is no failure, and an error of the device is
    kept for the fsync, which reports it.
    """
    if _sync_file_range is not None:
        _sync_file_range(fd, offset, length, _SYNC_FILE_RANGE_WRITE)
