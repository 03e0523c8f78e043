"""Standard input of each kind, as a descriptor that is not 0."""

import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from galileod.client.command.jobs import Job
from galileod.client.command.stdin import stdin_job
from galileod.client.content import open_source
from galileod.client.errors import SourceError


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)


async def content_of(job: Job) -> bytes:
    """What it sends, which must be the same at a second attempt."""
    content = await job.open()
    got = [b"", b""]
    async with open_source(content, job.name, job.declared) as source:
        for attempt in (0, 1):
            while data := await source.read(len(got[attempt]), 1000, lambda _: None):
                got[attempt] += data
    assert isinstance(content, io.IOBase)
    content.close()
    assert got[0] == got[1]
    return got[0]


async def test_a_pipe_is_put_aside_and_can_be_sent_again(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    data = os.urandom(30_000)
    os.write(writing, data)
    os.close(writing)
    job = stdin_job(None, None, reading)
    assert (job.label, job.name, job.size) == ("-", "stdin", None)
    assert await content_of(job) == data


async def test_a_pipe_of_a_known_size_is_sent_as_it_comes(
    pipe: tuple[int, int], autojump_clock: MockClock
) -> None:
    reading, writing = pipe
    job = stdin_job("backup.tgz", 10, reading)
    assert (job.name, job.size, job.declared) == ("backup.tgz", 10, 10)
    async with open_source(await job.open(), job.name, job.declared) as source:
        assert (source.seekable, source.repeatable) == (False, True)
        os.write(writing, b"first")
        assert await source.read(0, 1000, lambda _: None) == b"first"
        assert (source.seekable, source.repeatable) == (False, False)
        # Nothing has come of the rest yet, and the wait for it can be given up.
        with trio.move_on_after(1) as waiting:
            await source.read(5, 1000, lambda _: None)
        assert waiting.cancelled_caught
        os.write(writing, b"again")
        os.close(writing)
        assert await source.read(5, 1000, lambda _: None) == b"again"
        assert await source.at_end()


async def test_a_file_is_sent_from_where_it_stands_each_time(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"0123456789")
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.lseek(descriptor, 4, os.SEEK_SET)
        job = stdin_job(None, None, descriptor)
        assert job.size == 6
        assert await content_of(job) == b"456789"
        os.fstat(descriptor)  # it is not ours to close
    finally:
        os.close(descriptor)


async def test_a_device_that_never_makes_one_wait_is_read() -> None:
    descriptor = os.open(os.devnull, os.O_RDONLY)
    try:
        job = stdin_job(None, None, descriptor)
        assert await content_of(job) == b""
    finally:
        os.close(descriptor)


async def test_no_place_to_put_it_aside_is_told(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    reading, writing = pipe
    os.close(writing)
    monkeypatch.delenv("TMPDIR", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    with pytest.raises(
        SourceError, match=r"cannot be copied to a temporary file in .*gone: No such file"
    ):
        await stdin_job(None, None, reading).open()


async def test_a_descriptor_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with pytest.raises(SourceError, match="Standard input cannot be read: Is a directory"):
            await stdin_job(None, None, descriptor).open()
    finally:
        os.close(descriptor)
