"""Listing a folder that is open already."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from .directory import DIRECTORY


@contextmanager
def entries_of(fd: int) -> Iterator[Iterator[os.DirEntry[str]]]:
    """The entries of the folder `fd`, as they are at this moment. Blocks; raises OSError.

    The folder is opened anew: btrfs and sshfs list through a descriptor what the folder contained
    when the descriptor was opened, or was last read.
    """
    listed = os.open(".", DIRECTORY, dir_fd=fd)
    try:
        with os.scandir(listed) as entries:
            yield entries
    finally:
        os.close(listed)
