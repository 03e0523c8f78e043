"""What is sent, read from its beginning to its end: bytes, an open file, an async iterator."""

import os
import stat
from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, Callable
from typing import BinaryIO, Final, TypeVar

import trio
from attrs import frozen

from . import texts
from .errors import OptionError, SourceError
from .hashing import Note

WORTH_A_THREAD: Final = 64 * 1024
"""Bytes below which it costs more to hand them to a thread than to hash them."""

T = TypeVar("T")


@frozen
class Stamp:
    """What tells that a file on a disk was written to: its size, and when that was (in ns)."""

    size: int
    written: int


@frozen
class Opened:
    """A file, with its stamp when it was opened; None where it is not on a disk."""

    file: BinaryIO
    stamp: Stamp | None


class Source(ABC):
    """So many bytes under a name, read from the beginning to the end. Errors are SourceError.

    `label` is what its owner calls it.
    """

    def __init__(self, name: str, size: int, label: str) -> None:
        self.name = name
        self.size = size
        self.label = label

    @abstractmethod
    async def read(self, length: int, note: Note) -> bytes | memoryview:
        """The next bytes, at most `length`, and none at the end; `note` has seen them."""

    async def at_end(self) -> bool:
        """Whether nothing follows what was read."""
        return not await self.read(1, _ignore)


class BytesSource(Source):
    """Bytes that are there."""

    def __init__(self, data: memoryview, name: str) -> None:
        super().__init__(name, data.nbytes, name)
        self._data = data.cast("B")
        self._offset = 0

    async def read(self, length: int, note: Note) -> bytes | memoryview:
        """A view, and no copy."""
        data = self._data[self._offset : self._offset + length]
        self._offset += len(data)
        await noted(data, note)
        return data


class FileSource(Source):
    """An open binary file, from where it stands. Reading and hashing are one hop to a thread.

    A file that is written to meanwhile would be sent as a mixture: that is looked for at each read.
    """

    def __init__(self, opened: Opened, name: str, size: int, label: str) -> None:
        super().__init__(name, size, label)
        self._file = opened.file
        self._stamp = opened.stamp

    async def read(self, length: int, note: Note) -> bytes | memoryview:
        """What one read gives."""

        def read() -> bytes:
            data = self._file.read(length)
            if data is None:  # type: ignore[redundant-expr,unused-ignore]  # see below
                raise BlockingIOError(0, "it is in non-blocking mode")  # a raw file's way to say so
            now = stamp(self._file)
            if now and self._stamp and now != self._stamp:
                raise SourceError(_changed(self.label, self._stamp, now))
            note(data)
            return data

        return await in_thread(read, self.label)


class StreamSource(Source):
    """An async iterator of bytes, which must yield as many as was declared."""

    def __init__(self, stream: AsyncIterable[bytes], name: str, size: int, label: str) -> None:
        super().__init__(name, size, label)
        self._iterator = aiter(stream)
        self._rest = memoryview(b"")

    async def read(self, length: int, note: Note) -> bytes | memoryview:
        """A part of what the iterator gave last."""
        while not self._rest:
            try:
                given = await anext(self._iterator)
            except StopAsyncIteration:
                return b""
            try:
                self._rest = memoryview(given).cast("B")
            except TypeError:
                raise OptionError(
                    f"An async iterator must give bytes, and not {kind_of(given)}."
                ) from None
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


def stamp(file: BinaryIO) -> Stamp | None:
    """The stamp of an open file now; None for what is not on a disk."""
    try:
        status = os.fstat(file.fileno())
    except (AttributeError, OSError):
        return None  # no file of the system's, such as one in memory
    return Stamp(status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None


def _changed(label: str, then: Stamp, now: Stamp) -> str:
    if now.size == then.size:
        return f"{label} was written to while it was sent."
    how = "grew" if now.size > then.size else "shrank"
    return f"{label} {how} while it was sent: it had {texts.count(then.size)}, and has {now.size}."


def kind_of(value: object) -> str:
    """`a list`, `an int`."""
    kind = type(value).__name__
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"
