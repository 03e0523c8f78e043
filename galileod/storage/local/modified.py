"""Giving a file the modification time that its client states."""

import os
import time
from typing import Final

_MILLISECOND: Final = 1_000_000


def set_modified(fd: int, modified: int, *, inode_kept: bool) -> None:
    """Set the time of the file, in nanoseconds since 1970. Blocks.

    Files of a client often have the same time. Where that is part of the identity and the inode
    number is not, up to a millisecond is added: the client states no fraction of one.
    """
    if not inode_kept:
        modified += int.from_bytes(os.urandom(4)) % _MILLISECOND
    try:
        os.utime(fd, ns=(time.time_ns(), modified))
    except OSError:
        pass  # some filesystems do not support it; the file has the time at which it was written
