"""Tuning glibc's malloc: freed buffers are kept for the next chunks."""

import ctypes
from typing import Final

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3

MMAP_BYTES: Final = 32 * 1024 * 1024
"""Bytes from which malloc uses mmap for an allocation: the largest value that glibc accepts."""

MAX_FREE_BYTES: Final = 32 * 1024 * 1024
"""Bytes of freed memory that the process keeps at most."""


def keep_freed_memory() -> None:
    """Make malloc keep freed memory, up to MAX_FREE_BYTES.

    By default glibc returns buffers of a chunk's size to the kernel at once. Each page of the next
    one then causes a page fault and is zeroed: a fifth of the daemon's CPU time.
    """
    # mallopt(3) is an extension of glibc; other C libraries keep their defaults.
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, MMAP_BYTES)
        mallopt(_M_TRIM_THRESHOLD, MAX_FREE_BYTES)
