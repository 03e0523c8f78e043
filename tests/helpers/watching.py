"""A folder watched with inotify, as the programs that pick up finished files do."""

import ctypes
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from attrs import frozen

CLOSE_WRITE: Final = 0x8
MOVED_TO: Final = 0x80
CREATE: Final = 0x100

_EVENT: Final = struct.Struct("iIII")
_libc: Final = ctypes.CDLL(None, use_errno=True)


@frozen
class Watch:
    """Collects the events of a folder."""

    fd: int

    def events(self) -> list[tuple[int, str]]:
        """The events since the last call, with their names, for files that have names."""
        found = []
        try:
            data = os.read(self.fd, 65536)
        except BlockingIOError:
            return []
        while data:
            _, mask, _, length = _EVENT.unpack_from(data)
            name = data[_EVENT.size : _EVENT.size + length].rstrip(b"\0").decode()
            data = data[_EVENT.size + length :]
            # The kernel names an unnamed file after its inode number.
            if not name.startswith("#"):
                found.append((mask, name))
        return found


@contextmanager
def watching(folder: Path) -> Iterator[Watch]:
    fd = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    assert fd >= 0
    try:
        added = _libc.inotify_add_watch(fd, os.fsencode(folder), CLOSE_WRITE | MOVED_TO | CREATE)
        assert added >= 0
        yield Watch(fd)
    finally:
        os.close(fd)
