"""Any sequence of writes, failures, suspensions, restarts and reading back gives the right file."""

import errno
import hashlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

import pytest
import trio
from attrs import define, frozen
from helpers.local_store import open_local, visible
from hypothesis import given, settings
from hypothesis import strategies as st

from galileod.storage.errors import NoSpaceError
from galileod.storage.local import LocalStore, hashing, spoolfile
from galileod.storage.local.sink import LocalSink

pytestmark = pytest.mark.timeout(120)

CONTENT = bytes(range(256)) * 8


@frozen
class Write:
    """Write so many bytes, in pieces of `piece`; the disk is full after `room` bytes."""

    length: int
    piece: int
    room: int | None
    beside: bool
    """Whether it is read back at the same time."""


Step = Write | Literal["suspend", "restart", "power failure", "catch up", "checkpoint", "check"]

STEPS = st.lists(
    st.one_of(
        st.builds(
            Write,
            st.integers(0, 60),
            st.integers(1, 30),
            st.one_of(st.none(), st.integers(0, 60)),
            st.booleans(),
        ),
        st.sampled_from(["suspend", "restart", "power failure", "catch up", "checkpoint", "check"]),
    ),
    max_size=30,
)


@define
class Room:
    """The room that is left on the disk; None is without a limit."""

    bytes: int | None = None

    def writev(self, fd: int, pieces: Sequence[memoryview]) -> int:
        if self.bytes is None:
            return os.writev(fd, pieces)
        data = b"".join(pieces)[: self.bytes]
        if pieces and not data:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.bytes -= len(data)
        return os.write(fd, data)


class DiskOs:
    """Stands in for `os` where a file is written."""

    def __init__(self, room: Room) -> None:
        self.writev = room.writev

    def __getattr__(self, name: str) -> object:
        return getattr(os, name)


@contextmanager
def small_steps(room: Room) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spoolfile, "READ_BACK", 7)
        patch.setattr(hashing, "THREAD_THRESHOLD", 10)
        patch.setattr(spoolfile, "os", DiskOs(room))
        yield


def sha1(data: bytes) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


class Upload:
    """One upload, and how much of it was made durable."""

    def __init__(self, directory: Path, room: Room) -> None:
        self._directory = directory
        self._room = room
        self._durable = 0
        self._store: LocalStore
        self._sink: LocalSink

    async def run(self, steps: Sequence[Step]) -> None:
        self._store = open_local(self._directory)
        self._sink = await self._store.create("1", "a.bin")
        for step in steps:
            match step:
                case Write():
                    await self._write(step)
                case "suspend":
                    await self._suspend()
                    await self._reopen()
                case "restart":
                    await self._restart(None)
                case "power failure":
                    await self._restart(self._durable)
                case "catch up":
                    await self._sink.catch_up()
                    assert self._sink.check == sha1(CONTENT[: self._sink.offset])
                case "checkpoint":
                    self._durable = await self._sink.checkpoint()
                    assert self._durable == self._sink.offset
                case "check":
                    assert self._sink.check in (None, sha1(CONTENT[: self._sink.offset]))
        offset = self._sink.offset
        assert await self._sink.digest("sha1") == sha1(CONTENT[:offset])
        await self._sink.commit()
        assert visible(self._directory) == {"a.bin": CONTENT[:offset]}
        self._store.close()

    async def _write(self, step: Write) -> None:
        offset = self._sink.offset
        data = CONTENT[offset : offset + step.length]
        pieces = [data[at : at + step.piece] for at in range(0, len(data), step.piece)]
        self._room.bytes = step.room
        async with trio.open_nursery() as nursery:
            if step.beside:
                nursery.start_soon(self._sink.catch_up)
            with suppress(NoSpaceError):
                await self._sink.write(pieces)
        room = len(data) if step.room is None else step.room
        assert self._sink.offset == offset + min(len(data), room)

    async def _suspend(self) -> None:
        self._durable = await self._sink.suspend()
        assert self._durable == self._sink.offset

    async def _reopen(self) -> None:
        offset = self._sink.offset
        self._sink = await self._store.reopen("1", "a.bin", "rename", "full")
        assert self._sink.offset == offset

    async def _restart(self, trusted: int | None) -> None:
        """Kill the process; where only `trusted` bytes are certain, all others are lost."""
        offset = self._sink.offset if trusted is None else trusted
        self._sink._file.close()
        self._store.close()
        if trusted is not None:
            path = self._directory / ".galileod/spool/1"
            size = path.stat().st_size
            os.truncate(path, trusted)
            os.truncate(path, size)
        self._store = LocalStore.open(self._store._settings)
        recovered = self._store.recover({"1": trusted})
        assert [found.offset for found in recovered.values()] == ([offset] if offset else [])
        if offset:
            self._sink = await self._store.reopen("1", "a.bin", "rename", "full")
            assert self._sink.offset == offset
        else:
            self._durable = 0
            self._sink = await self._store.create("1", "a.bin")


@settings(deadline=None, max_examples=150)
@given(STEPS)
def test_the_file_and_its_hash_are_right_whatever_happened(steps: list[Step]) -> None:
    room = Room()
    with tempfile.TemporaryDirectory() as folder, small_steps(room):
        trio.run(Upload(Path(folder) / "galileod-files", room).run, steps)
