"""Sources of bytes that are read from beginning to end: bytes, an open file, an async iterator."""

import os
import stat
from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, Callable
from typing import BinaryIO, Final, TypeVar

import trio
from attrs import frozen

from .errors import OptionError, SourceError
from .formatting import plural
from .hashing import Update

THREAD_THRESHOLD: Final = 64 * 1024
"""Minimum bytes that are hashed in a thread; for fewer the thread call costs more."""

T = TypeVar("T")


@frozen
class FileStamp:
    """The size and mtime (in ns) of a regular file, to detect that it was modified."""

    size: int
    mtime_ns: int


@frozen
class Opened:
    """A file, and its stamp when it was opened; None if it is not a regular file."""

    file: BinaryIO
    stamp: FileStamp | None


class Source(ABC):
    """`size` bytes with a `name`, read from beginning to end. `label` is for error messages.

    Its methods raise SourceError.
    """

    def __init__(self, name: str, size: int, label: str) -> None:
        self.name = name
        self.size = size
        self.label = label

    @abstractmethod
    async def read(self, length: int, update: Update) -> bytes | memoryview:
        """The next bytes, at most `length`; empty at the end. `update` was called with them."""

    async def at_end(self) -> bool:
        """Whether all bytes were read."""
        return not await self.read(1, _ignore)


class BytesSource(Source):
    """Bytes in memory."""

    def __init__(self, data: memoryview, name: str) -> None:
        super().__init__(name, data.nbytes, name)
        self._data = data.cast("B")
        self._offset = 0

    async def read(self, length: int, update: Update) -> bytes | memoryview:
        """A view, not a copy."""
        data = self._data[self._offset : self._offset + length]
        self._offset += len(data)
        await _updated(data, update)
        return data


class FileSource(Source):
    """An open binary file, from its current position. A read and its hashing are one thread call.

    The stamp of the file is compared at each read: a file that is modified during the upload would
    be sent as a mixture of both versions.
    """

    def __init__(self, opened: Opened, name: str, size: int, label: str) -> None:
        super().__init__(name, size, label)
        self._file = opened.file
        self._stamp = opened.stamp

    async def read(self, length: int, update: Update) -> bytes | memoryview:
        """The bytes of one read of the file."""

        def read() -> bytes:
            data = self._file.read(length)
            if data is None:  # type: ignore[redundant-expr,unused-ignore]  # typeshed does not know
                # A raw file returns None in non-blocking mode if it has no data.
                raise BlockingIOError(0, "it is in non-blocking mode")
            now = file_stamp(self._file)
            if now and self._stamp and now != self._stamp:
                raise SourceError(_modified(self.label, self._stamp, now))
            update(data)
            return data

        return await in_thread(read, self.label)


class StreamSource(Source):
    """An async iterator of bytes, which must yield `size` bytes in total."""

    def __init__(self, stream: AsyncIterable[bytes], name: str, size: int, label: str) -> None:
        super().__init__(name, size, label)
        self._iterator = aiter(stream)
        self._rest = memoryview(b"")

    async def read(self, length: int, update: Update) -> bytes | memoryview:
        """Bytes of the item that the iterator yielded last."""
        while not self._rest:
            try:
                item = await anext(self._iterator)
            except StopAsyncIteration:
                return b""
            try:
                self._rest = memoryview(item).cast("B")
            except TypeError:
                raise OptionError(
                    f"An async iterator must yield bytes, not {type_name(item)}."
                ) from None
        data, self._rest = self._rest[:length], self._rest[length:]
        await _updated(data, update)
        return data


def _ignore(_: bytes | memoryview) -> None:
    pass


async def _updated(data: bytes | memoryview, update: Update) -> None:
    """Call `update` with the data, in a thread if it takes long."""
    if len(data) < THREAD_THRESHOLD:
        await trio.lowlevel.checkpoint()
        update(data)
    else:
        await trio.to_thread.run_sync(update, data)


async def in_thread(step: Callable[[], T], label: str) -> T:
    """Run file operations in a thread. Not cancellable, so that no thread is left running."""
    try:
        return await trio.to_thread.run_sync(step)
    except OSError as error:
        raise SourceError(f"{label} cannot be read: {error.strerror}.") from None


def file_stamp(file: BinaryIO) -> FileStamp | None:
    """The current stamp of an open file; None if it is not a regular file."""
    try:
        status = os.fstat(file.fileno())
    except (AttributeError, OSError):
        return None  # it has no descriptor, such as a file in memory
    return FileStamp(status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None


def _modified(label: str, then: FileStamp, now: FileStamp) -> str:
    if now.size == then.size:
        return f"{label} was modified while it was sent."
    how = "grew" if now.size > then.size else "shrank"
    return f"{label} {how} while it was sent, from {plural(then.size)} to {now.size}."


def type_name(value: object) -> str:
    """`a list`, `an int`."""
    kind = type(value).__name__
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"
