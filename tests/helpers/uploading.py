"""Stores, messages and log lines for tests of one upload."""

import hashlib
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

import trio
from helpers.memory_store import MemorySink, MemoryStore
from helpers.wire import (
    BINARY,
    CONTINUATION,
    Wire,
    WireClient,
    header,
)

from galileod.policy.publication import Durability, OnConflict
from galileod.storage.base import Stored

DATA = bytes(range(256)) * 4


Line = MutableMapping[str, Any]


def data_frame(data: bytes) -> bytes:
    """A chunk of any size, with a mask that changes nothing."""
    return header(BINARY, len(data)) + data


class StubbornSink(MemorySink):
    """A sink that fails in one step, or takes its time there."""

    def __init__(self, store: "StubbornStore", name: str, upload: str) -> None:
        super().__init__(store, name, upload)
        self._ours = store

    async def make_ready(self, owner: str = "") -> None:
        await self._ours.step("make_ready")
        await super().make_ready(owner)

    async def write(self, pieces: Sequence[bytes]) -> None:
        await self._ours.step("write")
        await super().write(pieces)

    async def digest(self, kind: str) -> str:
        await self._ours.step("digest")
        return await super().digest(kind)

    async def suspend(self) -> int:
        await self._ours.step("suspend")
        return await super().suspend()

    async def commit(self) -> Stored:
        await self._ours.step("commit")
        return await super().commit()


class StubbornStore(MemoryStore):
    """A store whose sinks do `act` before the step called `at`."""

    def __init__(self, at: str, act: Callable[[], Awaitable[None]]) -> None:
        super().__init__()
        self._at = at
        self._act = act

    def make_sink(self, upload: str, path: str) -> MemorySink:
        return StubbornSink(self, path, upload)

    async def create(
        self,
        upload: str,
        path: str,
        on_conflict: OnConflict | None = None,
        durability: Durability | None = None,
        size: int | None = None,
    ) -> MemorySink:
        await self.step("create")
        return await super().create(upload, path, on_conflict, durability, size)

    async def step(self, name: str) -> None:
        if name == self._at:
            await self._act()

    def heal(self) -> None:
        self._at = "never"

    def act_at(self, step: str) -> None:
        self._at = step


def raising(error: Exception) -> Callable[[], Awaitable[None]]:
    async def act() -> None:
        await trio.lowlevel.checkpoint()
        raise error

    return act


def sleeping(seconds: float) -> Callable[[], Awaitable[None]]:
    async def act() -> None:
        await trio.sleep(seconds)

    return act


def of_event(logs: list[Line], *events: str) -> list[Line]:
    return [line for line in logs if line["event"] in events]


def the_end(logs: list[Line]) -> Line:
    """The one line that says how the one upload ended."""
    (line,) = of_event(logs, "upload.stored", "upload.failed")
    return line


def hash_of(kind: str, value: str) -> dict[str, object]:
    return {"hash": {"type": kind, "value": value}}


SHA1 = hashlib.sha1(DATA, usedforsecurity=False).hexdigest()


MIB = 1024 * 1024
CHUNK = 6 * MIB
MOST_OF_IT = 4 * MIB


class WatchedSink(MemorySink):
    """Tells how many bytes each write had."""

    def __init__(self, store: MemoryStore, name: str, upload: str, writes: list[int]) -> None:
        super().__init__(store, name, upload)
        self._writes = writes

    async def write(self, pieces: Sequence[bytes]) -> None:
        await super().write(pieces)
        self._writes.append(sum(len(piece) for piece in pieces))

    @property
    def content(self) -> bytes:
        return bytes(self._file.data)


class WatchedStore(MemoryStore):
    """A store for one upload, into whose sink one can look."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[int] = []
        self.sink: WatchedSink | None = None

    def make_sink(self, upload: str, path: str) -> MemorySink:
        self.sink = WatchedSink(self, path, upload, self.writes)
        return self.sink

    @property
    def content(self) -> bytes:
        """What the sink has so far."""
        assert self.sink is not None
        return self.sink.content


def large(size: int) -> bytes:
    return (DATA * (size // len(DATA) + 1))[:size]


def in_frames(data: bytes, count: int) -> bytes:
    """A BINARY message in `count` frames."""
    step = -(-len(data) // count)
    starts = range(0, len(data), step)
    return b"".join(
        header(BINARY if not at else CONTINUATION, len(part), final=at == starts[-1]) + part
        for at in starts
        if (part := data[at : at + step])
    )


async def begin(wire: Wire, name: str, size: int) -> WireClient:
    client = await wire.open()
    await client.send({"name": name, "size": size})
    return client
