"""Keeping the memory for data that arrives, instead of fetching it from the kernel each time."""

import ctypes
from typing import Final

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3

MAPPED: Final = 32 * 1024 * 1024
"""Bytes from which an allocation is mapped for itself: the most that glibc takes."""

KEPT: Final = 32 * 1024 * 1024
"""Bytes of freed memory that stay with the process at the most."""


def keep_freed_memory() -> None:
    """Have malloc keep what is freed, up to KEPT.

    By its defaults glibc hands buffers of our size back at once, and each page of the next one
    costs a fault and is cleared by the kernel: a fifth of the daemon's CPU seconds.
    """
    # glibc's own call (mallopt(3)); where there is another C library, its ways are left alone.
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, MAPPED)
        mallopt(_M_TRIM_THRESHOLD, KEPT)
