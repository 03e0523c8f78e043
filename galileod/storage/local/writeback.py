"""Starting the writeback of a file's dirty pages without waiting for it."""

import ctypes
from typing import Final

_SYNC_FILE_RANGE_WRITE: Final = 2

# sync_file_range(2) is specific to Linux, and Python does not wrap it.
_sync_file_range = getattr(ctypes.CDLL(None), "sync_file_range", None)
if _sync_file_range is not None:
    _sync_file_range.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
    _sync_file_range.restype = ctypes.c_int


def start_writeback(fd: int, offset: int, length: int) -> None:
    """Ask the kernel to start writing these bytes, so that a later fsync has little left to do.

    Only a hint: its failure is ignored, since fsync reports errors of the device.
    """
    if _sync_file_range is not None:
        _sync_file_range(fd, offset, length, _SYNC_FILE_RANGE_WRITE)
