"""Standard input: sent as it comes where its size is known, and put aside first where it is not."""

import errno
import os
import stat
import tempfile
from collections.abc import AsyncIterator
from typing import BinaryIO, Final

import trio

from galileod.client.errors import SourceError
from galileod.client.opening import Content
from galileod.client.sources import in_thread

from .jobs import Job

LABEL: Final = "-"
DEFAULT_NAME: Final = "stdin"

READ: Final = 64 * 1024
"""Bytes that are read at once: what a pipe holds."""


class _Input(AsyncIterator[bytes]):
    """What comes from a descriptor. A wait for it can be cancelled, which a thread's could not."""

    def __init__(self, descriptor: int) -> None:
        self.begun = False
        self._descriptor = descriptor

    async def __anext__(self) -> bytes:
        try:
            await trio.lowlevel.wait_readable(self._descriptor)
        except PermissionError:
            pass  # a device that never makes one wait, such as /dev/null
        self.begun = True
        data = await in_thread(self._read, "Standard input")
        if not data:
            raise StopAsyncIteration
        return data

    def _read(self) -> bytes:
        try:
            return os.read(self._descriptor, READ)
        except OSError as error:
            if error.errno == errno.EBADF:  # open for nothing but writing, as `cli` leaves it
                raise SourceError("Standard input is closed.") from None
            raise


class _Spool:
    """Standard input as a file that has no name and goes with the process."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._file: BinaryIO | None = None

    async def open(self) -> Content:
        """The file, from its beginning; the first time it is filled. Raises SourceError."""
        if self._file is None:
            self._file = await self._fill()
        self._file.seek(0)
        return self._file

    async def _fill(self) -> BinaryIO:
        folder = os.environ.get("TMPDIR") or None  # Python would take another in silence
        try:
            file: BinaryIO = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  for all attempts
            try:
                async for data in _Input(self._descriptor):
                    await trio.to_thread.run_sync(file.write, data)
                await trio.to_thread.run_sync(file.flush)
            except BaseException:
                file.close()
                raise
        except OSError as error:
            # No folder is known where none could be written: asking for it would fail once more.
            place = f" in {found}" if (found := folder or tempfile.tempdir) else ""
            raise SourceError(
                f"Standard input cannot be put aside{place}: {error.strerror}. "
                "Set TMPDIR to a folder with room, or give --size, and it is sent as it comes."
            ) from None
        return file


def stdin_job(name: str | None, size: int | None, descriptor: int = 0) -> Job:
    """The job for standard input; `size` in bytes is what it will be, if that is known."""
    chosen = name or DEFAULT_NAME
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode):
        begin = os.lseek(descriptor, 0, os.SEEK_CUR)
        return Job(LABEL, _File(descriptor, begin).open, chosen, status.st_size - begin, size)
    if size is not None:
        stream = _Input(descriptor)

        async def the_stream() -> Content:
            return stream

        return Job(LABEL, the_stream, chosen, size, size, again=lambda: not stream.begun)
    return Job(LABEL, _Spool(descriptor).open, chosen)


class _File:
    """Standard input that is a file already."""

    def __init__(self, descriptor: int, begin: int) -> None:
        self._file = open(descriptor, "rb", buffering=0, closefd=False)  # noqa: SIM115  not ours
        self._begin = begin

    async def open(self) -> Content:
        self._file.seek(self._begin)
        return self._file
