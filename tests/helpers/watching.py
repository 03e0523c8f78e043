"""What inotify tells a program that watches a folder, such as a script that waits for files."""

import ctypes
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

CLOSE_WRITE: Final = 0x08
MOVED_TO: Final = 0x80
CREATE: Final = 0x100

_HEADER: Final = struct.Struct("iIII")
_MOST: Final = 1 << 16
_libc = ctypes.CDLL(None, use_errno=True)


class Watch:
    """The events in one folder since it was opened."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def events(self) -> list[tuple[int, str]]:
        """Mask and name of each event so far that was not returned before; does not wait."""
        found = []
        try:
            while data := os.read(self._fd, _MOST):
                while data:
                    _, mask, _, length = _HEADER.unpack_from(data)
                    end = _HEADER.size + length
                    found.append((mask, os.fsdecode(data[_HEADER.size : end].rstrip(b"\0"))))
                    data = data[end:]
        except BlockingIOError:
            pass  # that was all
        return found


@contextmanager
def watched(folder: Path) -> Iterator[Watch]:
    """Watch the folder for files that come, and files that were written and closed."""
    fd = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if fd < 0:
        raise OSError(ctypes.get_errno(), "inotify_init1")
    try:
        mask = CLOSE_WRITE | MOVED_TO | CREATE
        if _libc.inotify_add_watch(fd, os.fsencode(folder), mask) < 0:
            raise OSError(ctypes.get_errno(), "inotify_add_watch", str(folder))
        yield Watch(fd)
    finally:
        os.close(fd)
