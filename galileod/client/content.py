"""What can be sent: a path, bytes, an open file, an async iterator; and how each is opened."""

import io
import math
import os
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from typing import BinaryIO, Final

from .errors import OptionError, SourceError
from .formatting import plural
from .options import Unchecked
from .sources import (
    BytesSource,
    FileSource,
    Opened,
    PathSource,
    Source,
    StreamSource,
    file_stamp,
    in_thread,
    open_path,
    type_name,
)

Content = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | AsyncIterable[bytes]
"""A path (str or PathLike), or the content itself."""

UNNAMED: Final = "unnamed"
"""The name to store under for a file that has no name, if none is given."""


@asynccontextmanager
async def open_source(
    content: Content,
    name: str | None = None,
    size: int | None = None,
    label: str | None = None,
    *,
    folder: str | None = None,
    modified: float | None = None,
) -> AsyncIterator[Source]:
    """The source for `content`. On exit a file opened here and an async generator are closed.

    A file that the caller opened stays open. `size` in bytes is required if it cannot be
    determined. `label` is used in error messages; default: the path or the name. `folder` and
    `modified` are described at `send_file`. Raises OptionError for missing arguments and wrong
    types, and SourceError for content that cannot be opened or has another size.
    """
    _check(name, size, folder)
    stated = milliseconds(modified)
    async with _opened(content, name, size, label) as source:
        source.folder, source.stated = folder or None, stated
        yield source


@asynccontextmanager
async def _opened(
    content: Content, name: str | None, size: int | None, label: str | None
) -> AsyncIterator[Source]:
    if isinstance(content, bytes | bytearray | memoryview):
        if name is None:
            raise OptionError("Bytes need a name.")
        yield _with_size(BytesSource(memoryview(content), name), size)
    elif isinstance(content, str | os.PathLike):
        path = os.fspath(content)
        if not isinstance(path, str):
            raise OptionError("A path must be a string: os.fsdecode converts bytes.")
        opened, length = await in_thread(lambda: open_path(path), path)
        source = PathSource(path, opened, name or base_name(path), length)
        try:
            yield _with_size(source, size)
        finally:
            source.close()
    elif isinstance(content, AsyncIterable):
        if name is None or size is None:
            raise OptionError("An async iterator needs a name and a size.")
        try:
            yield StreamSource(content, name, size, label or name)
        finally:
            # Otherwise the garbage collector would close an unfinished generator at any time.
            if isinstance(content, AsyncGenerator):
                await content.aclose()
    else:
        yield await _open_file(content, name, size, label)


def _check(name: Unchecked, size: Unchecked, folder: Unchecked) -> None:
    for key, value in (("name", name), ("folder", folder)):
        if value is not None and not isinstance(value, str):
            raise OptionError(f"The {key} must be a string, not {value!r}.")
    if size is not None and (not isinstance(size, int) or isinstance(size, bool) or size < 0):
        raise OptionError(f"The size must be a number of bytes, not {size!r}.")


def milliseconds(modified: Unchecked) -> int | None:
    """A modification time of the caller, in whole milliseconds. Raises OptionError."""
    if modified is None:
        return None
    number = isinstance(modified, int | float) and not isinstance(modified, bool)
    if not (number and math.isfinite(modified)):
        raise OptionError(f"modified must be in seconds since 1970, not {modified!r}.")
    return round(float(modified) * 1000)


async def _open_file(
    content: Unchecked, name: str | None, size: int | None, label: str | None
) -> FileSource:
    if isinstance(content, io.TextIOBase):
        raise OptionError('The file is open in text mode. Open it with "rb".')
    if not hasattr(content, "read"):
        raise OptionError(
            f"{type_name(content).capitalize()} cannot be sent. Expected a path, bytes, an open "
            "binary file, or an async iterator of bytes."
        )
    path = getattr(content, "name", None)  # a number for a file that was opened by descriptor
    called = label or (path if isinstance(path, str) else "the open file")
    chosen = name or (base_name(path) if isinstance(path, str) else UNNAMED)
    length = size if size is not None else await in_thread(lambda: _length(content), called)
    opened = await in_thread(
        lambda: Opened(content, file_stamp(content), _position(content)), called
    )
    return FileSource(opened, chosen, length, called)


def base_name(path: str) -> str:
    """The last component of a path, under which a file is sent. It is UTF-8 in each locale."""
    return as_utf8(os.path.basename(absolute(path))) or UNNAMED


def as_utf8(name: str) -> str:
    """A name as it is sent: its bytes as UTF-8 in each locale."""
    try:
        return os.fsencode(name).decode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return name  # it was not read from the file system, as the attribute of an object


def absolute(path: str) -> str:
    """The absolute path, if the working directory still exists; else the path as it is."""
    try:
        return os.path.abspath(path)
    except FileNotFoundError:
        return path  # the working directory was deleted


def _with_size(source: Source, size: int | None) -> Source:
    """The source, if it has the size that was given. Raises SourceError."""
    if size is not None and size != source.size:
        raise SourceError(f"{source.label} has {plural(source.size)}, not {size}.")
    return source


def _position(file: BinaryIO) -> int | None:
    """The current position of a file; None if it is not seekable."""
    seekable = getattr(file, "seekable", None)
    return file.tell() if seekable is not None and seekable() else None


def _length(file: BinaryIO) -> int:
    if not file.seekable():
        raise OptionError("A file that is not seekable, such as a pipe, needs a size.")
    here = file.tell()
    end = file.seek(0, os.SEEK_END)
    file.seek(here)
    return max(0, end - here)
