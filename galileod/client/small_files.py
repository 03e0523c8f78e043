"""Reads small files: many in one thread call, which costs more than reading one of them."""

import hashlib
import os
import stat
from collections.abc import Sequence

from attrs import frozen

from galileod.protocol.messages import HashClaim

from .sources import FileStamp


@frozen
class SmallFile:
    """The content of a regular file, its stamp, and its hash."""

    data: bytes
    stamp: FileStamp
    claim: HashClaim | None


def read_small_files(paths: Sequence[str], kind: str | None, most: int) -> list[SmallFile | None]:
    """The files at these paths, hashed as `kind`. For a thread.

    None for what is not a regular file of at most `most` bytes that can be read and is not modified
    meanwhile: sending it alone shows why.
    """
    return [_read(path, kind, most) for path in paths]


def _read(path: str, kind: str | None, most: int) -> SmallFile | None:
    try:
        # Non-blocking: open() of a FIFO waits for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError):
        return None
    try:
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode) or before.st_size > most:
            return None
        data = os.read(descriptor, before.st_size + 1)
        after = os.fstat(descriptor)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    stamp = FileStamp(before.st_size, before.st_mtime_ns)
    if len(data) != stamp.size or stamp != FileStamp(after.st_size, after.st_mtime_ns):
        return None
    if kind is None:
        return SmallFile(data, stamp, None)
    digest = hashlib.new(kind, data, usedforsecurity=False).hexdigest()
    return SmallFile(data, stamp, HashClaim(kind, digest))
