"""Sources of bytes: bytes, an open file, a path, an async iterator."""

import os
import stat
import threading
from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, Callable
from typing import BinaryIO, Final, TypeVar

import trio
from attrs import frozen

from galileod.protocol.messages import RESUME, Metadata

from .errors import OptionError, SourceError
from .formatting import plural

THREAD_THRESHOLD: Final = 64 * 1024
"""Minimum bytes that are hashed in a thread; for fewer the thread call costs more."""

_NS_PER_MS: Final = 1_000_000

T = TypeVar("T")

Update = Callable[[bytes | memoryview], None]
"""Is called with the bytes that were read, as to hash them."""


@frozen
class FileStamp:
    """The size and mtime (in ns) of a regular file, to detect that it was modified."""

    size: int
    mtime_ns: int

    @property
    def modified(self) -> int:
        """The modification time in whole milliseconds since 1970, as it is sent."""
        return self.mtime_ns // _NS_PER_MS


@frozen
class Opened:
    """A file, and its stamp when it was opened; None if it is not a regular file.

    It is sent from the position `begin` on; None if it is not seekable.
    """

    file: BinaryIO
    stamp: FileStamp | None
    begin: int | None


class TouchedError(SourceError):
    """The file has another modification time than before, and the same size: its stamp is `now`."""

    def __init__(self, label: str, now: FileStamp) -> None:
        super().__init__(f"{label} was modified while it was sent.")
        self.now = now


class Source(ABC):
    """`size` bytes with a `name`. `label` is for error messages.

    If it is not `seekable` it can be read once, from beginning to end. `stamp` is that of a regular
    file when it was begun, else None. `seen` is the stamp with which it may be read: another one,
    if the file was touched, and found to be unmodified. The methods raise SourceError.

    `folder` is the folder that is sent with the name. `stated` is the modification time that the
    caller states, in milliseconds since 1970. Both are None if there is none.
    """

    stamp: FileStamp | None = None
    seen: FileStamp | None = None
    folder: str | None = None
    stated: int | None = None

    def __init__(self, name: str, size: int, label: str, *, seekable: bool = True) -> None:
        self.name = name
        self.size = size
        self.label = label
        self.seekable = seekable
        self.begun = False

    def metadata(self, key: str | None) -> Metadata:
        """The first signal about the file; with the key of an upload, that it may be resumed."""
        return Metadata(
            self.name,
            self.size,
            folder=self.folder,
            modified=self.modified,
            can=None if key is None else frozenset({RESUME}),
            upload=key,
        )

    @property
    def modified(self) -> int | None:
        """The modification time that is sent, in milliseconds since 1970; None if there is none."""
        return self.stated

    @property
    def repeatable(self) -> bool:
        """Whether it can be read from its beginning."""
        return self.seekable or not self.begun

    @abstractmethod
    async def read(self, offset: int, length: int, update: Update) -> bytes | memoryview:
        """The bytes from `offset` on, at most `length`; empty at the end.

        `update` was called with them.
        """

    async def refresh(self) -> bool:
        """Take the current version of a file that has changed; returns whether it has.

        For the time between two attempts.
        """
        return False

    async def at_end(self) -> bool:
        """Whether there are no more than `size` bytes."""
        return not await self.read(self.size, 1, _ignore)


class BytesSource(Source):
    """Bytes in memory."""

    def __init__(self, data: memoryview, name: str) -> None:
        super().__init__(name, data.nbytes, name)
        self._data = data.cast("B")

    async def read(self, offset: int, length: int, update: Update) -> bytes | memoryview:
        """A view, not a copy."""
        data = self._data[offset : offset + length]
        await _updated(data, update)
        return data


class FileSource(Source):
    """An open binary file. A read and its hashing are one thread call.

    The stamp of the file is compared at each read: a file that is modified during the upload would
    be sent as a mixture of both versions. If only the time differs, `read` raises TouchedError.
    """

    def __init__(self, opened: Opened, name: str, size: int, label: str) -> None:
        super().__init__(name, size, label, seekable=opened.begin is not None)
        self._file = opened.file
        self._begin = opened.begin
        self._lock = threading.Lock()  # between seek and read
        self.stamp = self.seen = opened.stamp

    async def read(self, offset: int, length: int, update: Update) -> bytes | memoryview:
        """The bytes of one read of the file."""

        def read() -> bytes:
            with self._lock:
                if self._begin is not None:
                    self._file.seek(self._begin + offset)
                data = self._file.read(length)
            if data is None:  # type: ignore[redundant-expr,unused-ignore]  # typeshed does not know
                # A raw file returns None in non-blocking mode if it has no data.
                raise BlockingIOError(0, "it is in non-blocking mode")
            now = file_stamp(self._file)
            if now and self.seen and now != self.seen:
                if now.size == self.seen.size:
                    raise TouchedError(self.label, now)
                raise SourceError(_modified(self.label, self.seen, now))
            update(data)
            return data

        self.begun = True
        return await in_thread(read, self.label)


class PathSource(FileSource):
    """The regular file at a path. It stays open between attempts; `close` closes it."""

    def __init__(self, path: str, opened: Opened, name: str, size: int) -> None:
        super().__init__(opened, name, size, path)
        self.path = path

    @property
    def modified(self) -> int | None:
        """That of the file, unless the caller states another one."""
        if self.stated is not None or self.stamp is None:
            return self.stated
        return self.stamp.modified

    async def refresh(self) -> bool:
        """Open the file again if that at the path is not the one that is open."""
        return await in_thread(self._refresh, self.label)

    def _refresh(self) -> bool:
        try:
            status = os.stat(self.path)
        except FileNotFoundError:
            return False  # it was deleted, or is being replaced; the open one can still be read
        if FileStamp(status.st_size, status.st_mtime_ns) == self.seen:
            return False
        opened, size = open_path(self.path)
        self.close()
        self._file, self.size = opened.file, size
        self.stamp = self.seen = opened.stamp
        return True

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class StreamSource(Source):
    """An async iterator of bytes, which must yield `size` bytes in total."""

    def __init__(self, stream: AsyncIterable[bytes], name: str, size: int, label: str) -> None:
        super().__init__(name, size, label, seekable=False)
        self._iterator = aiter(stream)
        self._rest = memoryview(b"")

    async def read(self, offset: int, length: int, update: Update) -> bytes | memoryview:
        """Bytes of the item that the iterator yielded last."""
        del offset  # a stream is read once, from its beginning
        self.begun = True
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


def path_stamp(path: str) -> FileStamp | None:
    """The current stamp of the regular file at a path; None if there is none, or on an error."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None  # opening it raises the error
    return FileStamp(status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None


def open_path(path: str) -> tuple[Opened, int]:
    """The regular file at a path, and its size. Raises SourceError and OSError."""
    try:
        # Non-blocking while it is opened: open() of a FIFO waits for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except UnicodeEncodeError as error:
        raise SourceError(f"{path} is not a path in the encoding {error.encoding}.") from None
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode):
        os.set_blocking(descriptor, True)
        file: BinaryIO = open(descriptor, "rb", buffering=0)  # noqa: SIM115  the caller closes it
        return Opened(file, file_stamp(file), 0), status.st_size
    os.close(descriptor)
    if stat.S_ISDIR(status.st_mode):
        raise SourceError(f"{path} is a directory.")
    raise SourceError(f"{path} is not a regular file.")


def _modified(label: str, then: FileStamp, now: FileStamp) -> str:
    how = "grew" if now.size > then.size else "shrank"
    return f"{label} {how} while it was sent, from {plural(then.size)} to {now.size}."


def type_name(value: object) -> str:
    """`a list`, `an int`."""
    kind = type(value).__name__
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"
