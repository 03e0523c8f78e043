"""Copying a complete file to another filesystem."""

import errno
import os
from collections.abc import Callable
from typing import Final

from galileod.storage.errors import StorageError
from galileod.storage.oserrors import translated

PIECE: Final = 8 * 1024 * 1024
"""Bytes that are copied at a time; a cancellation waits for one piece."""

_READ: Final = 1024 * 1024

_UNSUPPORTED: Final = {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}


def copy(source: int, target: int, size: int, checkpoint: Callable[[], None]) -> None:
    """Copy the `size` bytes of the file `source` to the empty file `target`.

    `checkpoint` is called before each piece, and may raise. Blocks. Raises StorageError.
    """
    with translated("cannot copy the file to the filesystem of its folder"):
        in_kernel, offset = True, 0
        while offset < size:
            checkpoint()
            length = min(PIECE, size - offset)
            copied = 0
            if in_kernel:
                try:
                    copied = os.copy_file_range(source, target, length, offset, offset)
                except OSError as error:
                    if error.errno not in _UNSUPPORTED:
                        raise
                # Some filesystems return 0 instead of an error.
                in_kernel = copied > 0
            if not in_kernel:
                data = os.pread(source, min(_READ, length), offset)
                if not data:
                    break
                copied = os.pwrite(target, data, offset)
            offset += copied
        if os.fstat(target).st_size != size:
            raise StorageError("cannot copy the file: the copy has another size")
