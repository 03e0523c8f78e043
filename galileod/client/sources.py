"""What can be sent: a file by its path, bytes, an open binary file, an async iterator."""

import os
import stat
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import BinaryIO, Final, TypeVar

import trio

from .errors import OptionError, SourceError
from .hashing import Note

Content = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | AsyncIterable[bytes]
"""A path (text or PathLike), or what is to be sent itself."""

UNNAMED: Final = "unnamed"

WORTH_A_THREAD: Final = 64 * 1024
"""Bytes below which it costs more to hand them to a thread than to hash them."""

T = TypeVar("T")


class Source(ABC):
    """So many bytes under a name, read from the beginning to the end. Errors are SourceError."""

    def __init__(self, name: str, size: int) -> None:
        self.name = name
        self.size = size

    @abstractmethod
    async def read(self, length: int, note: Note) -> bytes | memoryview:
        """The next bytes, at most `length`, and none at the end; `note` has seen them."""

    async def at_end(self) -> bool:
        """Whether nothing follows what was read."""
        return not await self.read(1, _ignore)


class BytesSource(Source):
    """Bytes that are there."""

    def __init__(self, data: memoryview, name: str) -> None:
        super().__init__(name, data.nbytes)
        self._data = data.cast("B")
        self._offset = 0

    async def read(self, length: int, note: Note) -> bytes | memoryview:
        """A view, and no copy."""
        data = self._data[self._offset : self._offset + length]
        self._offset += len(data)
        await noted(data, note)
        return data


class FileSource(Source):
    """An open binary file, from where it stands. Reading and hashing are one hop to a thread."""

    def __init__(self, file: BinaryIO, name: str, size: int, label: str) -> None:
        super().__init__(name, size)
        self._file = file
        self._label = label

    async def read(self, length: int, note: Note) -> bytes | memoryview:
        """What one read gives."""

        def read() -> bytes:
            data = self._file.read(length)
            if data is None:  # type: ignore[redundant-expr,unused-ignore]  # see below
                raise BlockingIOError(0, "it is in non-blocking mode")  # a raw file's way to say so
            note(data)
            return data

        return await in_thread(read, self._label)


class StreamSource(Source):
    """An async iterator of bytes, which must yield as many as was declared."""

    def __init__(self, stream: AsyncIterable[bytes], name: str, size: int) -> None:
        super().__init__(name, size)
        self._iterator = aiter(stream)
        self._rest = memoryview(b"")

    async def read(self, length: int, note: Note) -> bytes | memoryview:
        """A part of what the iterator gave last."""
        while not self._rest:
            try:
                self._rest = memoryview(await anext(self._iterator)).cast("B")
            except StopAsyncIteration:
                return b""
        data, self._rest = self._rest[:length], self._rest[length:]
        await noted(data, note)
        return data


def _ignore(_: bytes | memoryview) -> None:
    pass


async def noted(data: bytes | memoryview, note: Note) -> None:
    """Let `note` see the data, in a thread where that is worth it."""
    if len(data) < WORTH_A_THREAD:
        await trio.lowlevel.checkpoint()
        note(data)
    else:
        await trio.to_thread.run_sync(note, data)


async def in_thread(step: Callable[[], T], label: str) -> T:
    """Run file operations in a thread. It cannot be cancelled: no thread is left behind."""
    try:
        return await trio.to_thread.run_sync(step)
    except OSError as error:
        raise SourceError(f"{label} cannot be read: {error.strerror}.") from None


@asynccontextmanager
async def open_source(
    content: Content, name: str | None = None, size: int | None = None
) -> AsyncIterator[Source]:
    """What `content` stands for. Closes what it opened, and nothing else.

    `size` is needed where it cannot be known. Raises OptionError where something is missing.
    """
    if isinstance(content, bytes | bytearray | memoryview):
        if name is None:
            raise OptionError("Bytes need a name to be sent under.")
        yield _agreed(BytesSource(memoryview(content), name), size)
    elif isinstance(content, str | os.PathLike):
        path = os.fspath(content)
        file, length = await in_thread(lambda: _open(path), path)
        try:
            yield _agreed(FileSource(file, name or name_of(path), length, path), size)
        finally:
            file.close()
    elif isinstance(content, AsyncIterable):
        if name is None or size is None:
            raise OptionError("An async iterator needs a name and a size.")
        try:
            yield StreamSource(content, name, size)
        finally:
            # A generator that is left half-way would be closed later, by chance.
            if isinstance(content, AsyncGenerator):
                await content.aclose()
    elif hasattr(content, "read"):
        own = getattr(content, "name", None)
        label = own if isinstance(own, str) else "the open file"
        chosen = name or (name_of(own) if isinstance(own, str) else UNNAMED)
        length = size if size is not None else await in_thread(lambda: _length(content), label)
        yield FileSource(content, chosen, length, label)
    else:
        raise OptionError(f"A {type(content).__name__} cannot be sent.")


def name_of(path: str) -> str:
    """The name that a path is sent under: its last part."""
    try:
        path = os.path.abspath(path)
    except FileNotFoundError:
        pass  # the working folder is gone, and with it what `.` and `..` are called
    return os.path.basename(path) or UNNAMED


def _agreed(source: Source, size: int | None) -> Source:
    if size is not None and size != source.size:
        raise SourceError(f"{source.name} has {source.size} bytes, and not {size}.")
    return source


def _open(path: str) -> tuple[BinaryIO, int]:
    # Non-blocking for the opening alone: a FIFO would wait for its writer, for ever.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode):
        os.set_blocking(descriptor, True)
        return open(descriptor, "rb", buffering=0), status.st_size
    os.close(descriptor)
    if stat.S_ISDIR(status.st_mode):
        raise SourceError(f"{path} is a folder. Its files are sent with --recursive.")
    raise SourceError(f"{path} is no ordinary file. What it gives can be piped to -.")


def _length(file: BinaryIO) -> int:
    if not file.seekable():
        raise OptionError("A file that cannot be sought in, such as a pipe, needs a size.")
    here = file.tell()
    end = file.seek(0, os.SEEK_END)
    file.seek(here)
    return max(0, end - here)
