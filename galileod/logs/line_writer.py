"""Writes lines to a file descriptor: each line as a whole, or not at all."""

import fcntl
import os
import select
import stat
import struct
import termios
from collections.abc import Iterator, Sequence
from typing import Final

MAX_WRITE: Final = select.PIPE_BUF
"""Maximum bytes of several lines in one call: a pipe takes so many at once or none (pipe(7))."""

EMPTY_MILLISECONDS: Final = 50
"""Milliseconds between two checks whether a pipe is empty."""


class LineWriter:
    """Writes lines to `descriptor`. At most one thread at a time may use it.

    The end of the process, at any moment, leaves no part of a line in a pipe. If a full disk takes
    only the beginning of a line, the rest is written before any other line.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._rest = b""

    def write(self, lines: Sequence[bytes]) -> int:
        """Write the lines in order; waits until there is room. Returns how many were dropped."""
        return sum(map(self._write_group, _groups(lines)))

    def write_at_once(self, line: bytes) -> None:
        """Write the line, or lose it if that would mean waiting."""
        poller = select.poll()
        poller.register(self._descriptor, select.POLLOUT)
        has_room = any(events & select.POLLOUT for _, events in poller.poll(0))
        if has_room and (len(self._rest + line) <= MAX_WRITE or not self._unread()):
            self._write_group([line])

    def _write_group(self, lines: Sequence[bytes]) -> int:
        """Write the lines with one call if possible. Returns how many were dropped."""
        left = self._rest + b"".join(lines)
        if len(left) > MAX_WRITE:
            self._wait_until_empty()
        left = self._write_bytes(left)
        dropped = 0
        for line in reversed(lines):
            if len(left) < len(line):
                break  # it was begun
            left = left[: -len(line)]
            dropped += 1
        self._rest = left
        return dropped

    def _write_bytes(self, data: bytes) -> bytes:
        """Write all of `data`. Returns what could not be written because of an error."""
        while data:
            try:
                data = data[os.write(self._descriptor, data) :]
            except BlockingIOError:
                self._wait(select.POLLOUT)  # another process has made the descriptor non-blocking
            except OSError:
                break  # the disk is full, or the reader is gone: the caller counts the lines
        return data

    def _wait_until_empty(self) -> None:
        """Wait for a pipe whose free room may be too small for a long line."""
        while self._unread() and not self._wait(0, EMPTY_MILLISECONDS):
            pass

    def _unread(self) -> int:
        """The number of bytes in the pipe; 0 if the descriptor is not a pipe."""
        try:
            if not stat.S_ISFIFO(os.fstat(self._descriptor).st_mode):
                return 0
            (count,) = struct.unpack("i", fcntl.ioctl(self._descriptor, termios.FIONREAD, bytes(4)))
        except OSError:
            return 0  # the write fails in the same way
        return int(count)

    def _wait(self, events: int, milliseconds: int | None = None) -> bool:
        """Wait for one of `events`, or an error such as a reader that is gone."""
        poller = select.poll()
        poller.register(self._descriptor, events)
        return bool(poller.poll(milliseconds))


def _groups(lines: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """The lines in groups of at most MAX_WRITE bytes. A longer line is a group of its own."""
    group: list[bytes] = []
    size = 0
    for line in lines:
        if group and size + len(line) > MAX_WRITE:
            yield group
            group, size = [], 0
        group.append(line)
        size += len(line)
    if group:
        yield group
