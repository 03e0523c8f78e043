"""Standard input: streamed if its size is known, else copied to a temporary file first."""

import errno
import os
import stat
import tempfile
from collections.abc import AsyncIterator
from typing import Final

import trio

from galileod.client.content import Content
from galileod.client.errors import SourceError
from galileod.client.sources import in_thread

from .jobs import Job

STDIN: Final = "-"
"""The argument that stands for standard input."""

DEFAULT_NAME: Final = "stdin"

READ: Final = 64 * 1024
"""Bytes of one read: the capacity of a pipe."""


class _Input(AsyncIterator[bytes]):
    """The bytes of a descriptor. Waiting for them can be cancelled, unlike a read in a thread."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    async def __anext__(self) -> bytes:
        try:
            await trio.lowlevel.wait_readable(self._descriptor)
        except PermissionError:
            pass  # epoll does not support the file; reads do not block, as with /dev/null
        data = await in_thread(self._read, "Standard input")
        if not data:
            raise StopAsyncIteration
        return data

    def _read(self) -> bytes:
        try:
            return os.read(self._descriptor, READ)
        except OSError as error:
            if error.errno == errno.EBADF:  # it was closed; see cli/startup.py
                raise SourceError("Standard input is closed.") from None
            raise


class _Spool:
    """Standard input, copied to an unnamed temporary file."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    async def open(self) -> Content:
        """The file, at its beginning. Raises SourceError."""
        return await _File(await self._fill(), 0).open()

    async def _fill(self) -> int:
        folder = os.environ.get("TMPDIR") or None  # if it is unusable Python silently uses another
        try:
            with tempfile.TemporaryFile(dir=folder) as file:
                async for data in _Input(self._descriptor):
                    await trio.to_thread.run_sync(file.write, data)
                await trio.to_thread.run_sync(file.flush)
                return os.dup(file.fileno())  # never closed
        except OSError as error:
            # tempfile.gettempdir() would raise again if no directory is writable.
            place = f" in {found}" if (found := folder or tempfile.tempdir) else ""
            raise SourceError(
                f"Standard input cannot be copied to a temporary file{place}: {error.strerror}. "
                "Set TMPDIR to a directory with enough space, or use --size to stream it."
            ) from None


def stdin_job(name: str | None, size: int | None, descriptor: int = 0) -> Job:
    """The job for standard input. `size` in bytes is the declared size, or None."""
    chosen = name or DEFAULT_NAME
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode):
        begin = os.lseek(descriptor, 0, os.SEEK_CUR)
        return Job(STDIN, _File(descriptor, begin).open, chosen, status.st_size - begin, size)
    if size is not None:
        stream = _Input(descriptor)

        async def the_stream() -> Content:
            return stream

        return Job(STDIN, the_stream, chosen, size, size)
    return Job(STDIN, _Spool(descriptor).open, chosen)


class _File:
    """A descriptor of a regular file."""

    def __init__(self, descriptor: int, begin: int) -> None:
        self._file = open(descriptor, "rb", buffering=0, closefd=False)  # noqa: SIM115  never closed
        self._begin = begin

    async def open(self) -> Content:
        self._file.seek(self._begin)
        return self._file
