"""What can be sent, and how it is opened: a path, bytes, an open file, an async iterator."""

import io
import os
import stat
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from typing import BinaryIO, Final

from . import texts
from .errors import OptionError, SourceError
from .sources import (
    BytesSource,
    FileSource,
    Opened,
    Source,
    StreamSource,
    in_thread,
    kind_of,
    stamp,
)
from .values import Given

Content = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | AsyncIterable[bytes]
"""A path (text or PathLike), or what is to be sent itself."""

UNNAMED: Final = "unnamed"


@asynccontextmanager
async def open_source(
    content: Content,
    name: str | None = None,
    size: int | None = None,
    label: str | None = None,
) -> AsyncIterator[Source]:
    """What `content` stands for. Closes what it opened, and nothing else.

    `size` is needed where it cannot be known; `label` is what sentences call it, where that is not
    its path or name. Raises OptionError where something is missing or of a wrong type.
    """
    _check(name, size)
    if isinstance(content, bytes | bytearray | memoryview):
        if name is None:
            raise OptionError("Bytes need a name to be sent under.")
        yield _agreed(BytesSource(memoryview(content), name), size)
    elif isinstance(content, str | os.PathLike):
        path = os.fspath(content)
        if not isinstance(path, str):
            raise OptionError("A path must be a text: os.fsdecode makes one of bytes.")
        opened, length = await in_thread(lambda: _open(path), path)
        try:
            yield _agreed(FileSource(opened, name or name_of(path), length, path), size)
        finally:
            opened.file.close()
    elif isinstance(content, AsyncIterable):
        if name is None or size is None:
            raise OptionError("An async iterator needs a name and a size.")
        try:
            yield StreamSource(content, name, size, label or name)
        finally:
            # A generator that is left half-way would be closed later, by chance.
            if isinstance(content, AsyncGenerator):
                await content.aclose()
    else:
        yield await _open_file(content, name, size, label)


def _check(name: Given, size: Given) -> None:
    if name is not None and not isinstance(name, str):
        raise OptionError(f"The name must be a text, and not {name!r}.")
    if size is not None and (not isinstance(size, int) or isinstance(size, bool) or size < 0):
        raise OptionError(f"The size must be a number of bytes, and not {size!r}.")


async def _open_file(
    content: Given, name: str | None, size: int | None, label: str | None
) -> FileSource:
    if isinstance(content, io.TextIOBase):
        raise OptionError('The file is open as text. Open it with "rb".')
    if not hasattr(content, "read"):
        raise OptionError(
            f"{kind_of(content).capitalize()} cannot be sent. Expected a path, bytes, an open "
            "binary file, or an async iterator of bytes."
        )
    own = getattr(content, "name", None)
    called = label or (own if isinstance(own, str) else "the open file")
    chosen = name or (name_of(own) if isinstance(own, str) else UNNAMED)
    length = size if size is not None else await in_thread(lambda: _length(content), called)
    opened = Opened(content, await in_thread(lambda: stamp(content), called))
    return FileSource(opened, chosen, length, called)


def name_of(path: str) -> str:
    """The name that a path is sent under: its last part."""
    return os.path.basename(absolute(path)) or UNNAMED


def absolute(path: str) -> str:
    """The path from the root on, as far as that is known."""
    try:
        return os.path.abspath(path)
    except FileNotFoundError:
        return path  # the working folder is gone, and with it what `.` and `..` are called


def _agreed(source: Source, size: int | None) -> Source:
    if size is not None and size != source.size:
        raise SourceError(f"{source.label} has {texts.count(source.size)}, and not {size}.")
    return source


def _open(path: str) -> tuple[Opened, int]:
    # Non-blocking for the opening alone: a FIFO would wait for its writer, for ever.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode):
        os.set_blocking(descriptor, True)
        file: BinaryIO = open(descriptor, "rb", buffering=0)  # noqa: SIM115  the caller closes it
        return Opened(file, stamp(file)), status.st_size
    os.close(descriptor)
    if stat.S_ISDIR(status.st_mode):
        raise SourceError(f"{path} is a folder.")
    raise SourceError(f"{path} is no ordinary file.")


def _length(file: BinaryIO) -> int:
    if not file.seekable():
        raise OptionError("A file that cannot be sought in, such as a pipe, needs a size.")
    here = file.tell()
    end = file.seek(0, os.SEEK_END)
    file.seek(here)
    return max(0, end - here)
