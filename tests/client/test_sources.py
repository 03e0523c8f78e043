"""What can be sent, and what each kind of it gives."""

import array
import io
import os
import re
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from galileod.client.content import base_name, open_source
from galileod.client.errors import OptionError, SourceError
from galileod.client.sources import THREAD_THRESHOLD, Source, StreamSource


async def all_of(source: Source, at_most: int = 1000, start: int = 0) -> bytes:
    """What it gives, which must be what was noted."""
    got, noted = b"", bytearray()
    while data := await source.read(start + len(got), at_most, noted.extend):
        assert len(data) <= at_most
        got += data
    assert noted == got
    assert await source.at_end()
    return got


async def pieces(*parts: bytes) -> AsyncGenerator[bytes, None]:
    for part in parts:
        await trio.lowlevel.checkpoint()
        yield part


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
async def test_bytes_are_sent_without_a_copy(kind: type[bytes]) -> None:
    data = kind(bytes(range(256)) * 1000)
    async with open_source(data, "a.bin") as source:
        assert (source.name, source.size) == ("a.bin", 256_000)
        first = await source.read(0, THREAD_THRESHOLD, lambda _: None)
        assert isinstance(first, memoryview)
        assert bytes(first) == bytes(data[:THREAD_THRESHOLD])
        assert await all_of(source, THREAD_THRESHOLD, THREAD_THRESHOLD) == bytes(
            data[THREAD_THRESHOLD:]
        )


async def test_a_view_of_larger_items_is_its_bytes() -> None:
    numbers = array.array("I", [1, 2, 3])
    async with open_source(memoryview(numbers), "numbers") as source:
        assert source.size == 12
        assert await all_of(source) == numbers.tobytes()


async def test_a_path_is_opened_and_closed(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"content")
    before = os.listdir("/proc/self/fd")
    async with open_source(path) as source:
        assert (source.name, source.size) == ("a.bin", 7)
        assert await all_of(source, 3) == b"content"
    assert os.listdir("/proc/self/fd") == before


async def test_an_open_file_is_read_from_where_it_stands_and_left_open(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"0123456789")
    with path.open("rb") as file:
        file.seek(4)
        async with open_source(file) as source:
            assert (source.name, source.size) == ("a.bin", 6)
            assert await all_of(source) == b"456789"
        assert not file.closed


async def test_a_file_beyond_its_end_is_empty() -> None:
    file = io.BytesIO(b"short")
    file.seek(100)
    async with open_source(file) as source:
        assert (source.name, source.size) == ("unnamed", 0)
        assert await all_of(source) == b""


@given(st.lists(st.binary(max_size=30), max_size=10), st.integers(1, 40))
@settings(max_examples=50, deadline=None)
def test_a_stream_may_be_cut_anywhere(parts: list[bytes], at_most: int) -> None:
    async def run() -> None:
        source = StreamSource(pieces(*parts), "a", sum(map(len, parts)), "a")
        assert await all_of(source, at_most) == b"".join(parts)

    trio.run(run)


async def test_a_generator_that_is_left_half_way_is_closed() -> None:
    closed = False

    async def endless() -> AsyncIterator[bytes]:
        nonlocal closed
        try:
            while True:
                await trio.lowlevel.checkpoint()
                yield b"x"
        finally:
            closed = True

    async with open_source(endless(), "a", 1000) as source:
        await source.read(0, 1, lambda _: None)
        assert not closed
    assert closed


async def test_a_file_in_non_blocking_mode_that_has_nothing_is_an_error() -> None:
    reading, writing = os.pipe2(os.O_NONBLOCK)
    with os.fdopen(reading, "rb", buffering=0) as file, os.fdopen(writing, "wb"):
        async with open_source(file, "a", 5) as source:
            with pytest.raises(SourceError, match="non-blocking mode"):
                await source.read(0, 5, lambda _: None)


@pytest.mark.parametrize(
    ("content", "name", "size", "sentence"),
    [
        (b"data", None, None, "Bytes need a name"),
        (pieces(), "a", None, "An async iterator needs a name and a size"),
        (pieces(), None, 1, "An async iterator needs a name and a size"),
        (5, "a", 1, "An int cannot be sent"),
    ],
)
async def test_what_is_missing_is_told(
    content: Any,  # noqa: ANN401
    name: str | None,
    size: int | None,
    sentence: str,
) -> None:
    with pytest.raises(OptionError, match=sentence):
        async with open_source(content, name, size):
            pass


async def test_a_pipe_needs_a_size() -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as file, os.fdopen(writing, "wb"):
        with pytest.raises(OptionError, match="needs a size"):
            async with open_source(file):
                pass
        assert not file.closed


async def test_a_size_that_is_not_so_is_told() -> None:
    with pytest.raises(SourceError, match="a has 4 bytes, not 5"):
        async with open_source(b"data", "a", 5):
            pass


async def test_what_is_no_ordinary_file_is_told_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    before = os.listdir("/proc/self/fd")
    for name, sentence in [
        ("fifo", "is not a regular file."),
        ("folder", "is a directory."),
        ("missing", "cannot be read: No such file or directory."),
    ]:
        path = str(tmp_path / name)
        with pytest.raises(SourceError, match=re.escape(f"{path} {sentence}")):
            async with open_source(path):
                pass
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize(
    ("path", "name"),
    [("a/b.txt", "b.txt"), ("a/b/", "b"), ("a/./b", "b"), ("a/b/..", "a"), ("/", "unnamed")],
)
def test_a_path_is_sent_under_its_last_part(path: str, name: str) -> None:
    assert base_name(path) == name
