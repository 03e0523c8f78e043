"""Each kind of content, sent by `send_file`."""

import io
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from helpers.clients import some_bytes, unique_name
from helpers.daemon import Daemon, poll
from helpers.receivers import PerlReceiver
from helpers.sending import parts

from galileod.client import (
    OptionError,
    Progress,
    SourceError,
    send_file,
)

MIB = 1024 * 1024


async def test_an_async_iterator_is_sent(server: Daemon) -> None:
    name, data = unique_name(), some_bytes(3_000_000)
    pieces = parts(data[:5], b"", data[5:2_000_000], data[2_000_000:])
    await send_file(server.url, pieces, name=name, size=len(data))
    assert (server.directory / name).read_bytes() == data


@pytest.mark.parametrize(
    ("pieces", "size", "sentence"),
    [
        ([b"12345"], 6, "a has 5 bytes, not the 6 declared"),
        ([], 1, "a has 0 bytes, not the 1 declared"),
        ([b"12345"], 4, "a has more than the 4 bytes"),
        ([b"1234", b"5"], 4, "a has more than the 4 bytes"),
        ([b"1"], 0, "a has more than the 0 bytes"),
    ],
)
async def test_an_async_iterator_of_another_length_is_an_error(
    server: Daemon, pieces: list[bytes], size: int, sentence: str
) -> None:
    with pytest.raises(SourceError, match=f"^{sentence}"):
        await send_file(server.url, parts(*pieces), name="a", size=size)
    assert poll("an empty spool", lambda: not server.spooled())
    assert "a" not in server.visible()


async def test_what_an_async_iterator_raises_comes_out_as_it_is(server: Daemon) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"12"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await send_file(server.url, broken(), name="a", size=5)


async def test_an_open_file_is_sent_from_where_it_stands_and_left_open(
    server: Daemon, tmp_path: Path
) -> None:
    path = tmp_path / unique_name()
    path.write_bytes(b"0123456789")
    with path.open("rb") as file:
        file.seek(4)
        receipt = await send_file(server.url, file)
        assert not file.closed
    assert receipt.name == path.name
    assert (server.directory / path.name).read_bytes() == b"456789"


async def test_a_file_in_memory_is_sent(server: Daemon) -> None:
    name = unique_name()
    await send_file(server.url, io.BytesIO(b"content"), name=name)
    assert (server.directory / name).read_bytes() == b"content"


@pytest.mark.parametrize("change", [-1, 1])
async def test_a_file_that_changes_its_size_while_it_is_sent_is_an_error(
    server: Daemon, tmp_path: Path, change: int
) -> None:
    path = tmp_path / unique_name()
    path.write_bytes(some_bytes(8 * MIB))
    touched = False

    def touch(_: Progress) -> None:
        nonlocal touched
        if not touched:
            os.truncate(path, 8 * MIB + change)
            touched = True

    how = "shrank" if change < 0 else "grew"
    said = f"{how} while it was sent, from {8 * MIB} bytes to {8 * MIB + change}."
    with pytest.raises(SourceError, match=said):
        await send_file(server.url, path, on_progress=touch)
    assert path.name not in server.visible()


@pytest.mark.parametrize("opened", [False, True], ids=["path", "file"])
async def test_a_file_that_is_written_to_while_it_is_sent_is_an_error(
    server: Daemon, tmp_path: Path, opened: bool
) -> None:
    path = tmp_path / unique_name()
    path.write_bytes(some_bytes(8 * MIB))
    seen = 0

    def write(progress: Progress) -> None:
        nonlocal seen
        if not seen:
            with path.open("r+b") as file:
                file.write(b"other")
            os.utime(path, ns=(0, 0))  # the clock of the write may be a coarse one
        seen = progress.sent

    with path.open("rb") as file, pytest.raises(SourceError, match="was modified while it was"):
        await send_file(server.url, file if opened else path, on_progress=write)
    assert seen < 8 * MIB, "it is not sent to its end first"
    assert path.name not in server.visible()


@pytest.mark.parametrize("opened", [False, True], ids=["path", "file"])
async def test_a_file_that_gets_another_time_while_it_is_sent_is_stored(
    server: Daemon, tmp_path: Path, opened: bool
) -> None:
    path, data = tmp_path / unique_name(), some_bytes(8 * MIB)
    path.write_bytes(data)

    def touch(progress: Progress) -> None:
        if progress.sent < 3 * MIB:
            os.utime(path, ns=(0, progress.sent))

    with path.open("rb") as file:
        await send_file(server.url, file if opened else path, on_progress=touch)
    assert (server.directory / path.name).read_bytes() == data


async def test_without_a_hash_another_time_is_an_error(server: Daemon, tmp_path: Path) -> None:
    path = tmp_path / unique_name()
    path.write_bytes(some_bytes(8 * MIB))

    def touch(progress: Progress) -> None:
        os.utime(path, ns=(0, progress.sent))

    with pytest.raises(SourceError, match="was modified while it was sent"):
        await send_file(server.url, path, on_progress=touch, hash=None)
    assert path.name not in server.visible()


async def test_an_iterator_of_text_is_a_sentence(perl: PerlReceiver) -> None:
    async def text() -> AsyncIterator[Any]:
        yield "data"

    with pytest.raises(OptionError, match="must yield bytes, not a str"):
        await send_file(perl.url, text(), name="a", size=4)
