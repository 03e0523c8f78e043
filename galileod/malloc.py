"""Configures glibc's malloc such that freed buffers are reused for later chunks."""

import ctypes
from typing import Final

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3

MMAP_BYTES: Final = 32 * 1024 * 1024
"""Size in bytes from which malloc uses mmap for an allocation: glibc's maximum."""

MAX_FREE_BYTES: Final = 32 * 1024 * 1024
"""Maximum bytes of freed memory that the process keeps."""


def keep_freed_memory() -> None:
    """Make malloc keep freed memory, up to MAX_FREE_BYTES.

    By default glibc returns a buffer of a chunk's size to the kernel when it is freed. Then each
    page of the next buffer causes a page fault, and the kernel zeroes it. That took a fifth of the
    daemon's CPU time.
    """
    # mallopt(3) is an extension of glibc; with other C libraries this does nothing.
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, MMAP_BYTES)
        mallopt(_M_TRIM_THRESHOLD, MAX_FREE_BYTES)
