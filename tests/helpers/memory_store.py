"""A store that keeps files in memory, without a thread, for which trio's clock would not wait."""

import hashlib
import time
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from itertools import count

import trio
from attrs import define

from galileod.policy.names import numbered
from galileod.policy.publication import Durability, OnConflict
from galileod.storage.base import RUNNING_HASH, Sink, Store, Stored
from galileod.storage.errors import ConflictError, MissingError, StorageError
from galileod.storage.finished import (
    Found,
    Progress,
    Recovered,
    Removed,
    Space,
    Standing,
    ignore_progress,
)
from galileod.storage.settings import Storage

STEP = 1000
"""Bytes that `MemorySink.catch_up` reads back at a time."""


@define(eq=False)
class Unfinished:
    """The bytes of an upload; the running hash covers `hashed`, and `durable` are on the disk."""

    data: bytearray
    hashed: int = 0
    durable: int = 0

    @property
    def check(self) -> str | None:
        if self.hashed < len(self.data):
            return None
        return hashlib.new(RUNNING_HASH, self.data, usedforsecurity=False).hexdigest()


class MemoryStore(Store):
    """Files by name in `contents`; `open_sinks` counts those not committed, discarded or suspended.

    `identities` has the name of each file by the identity of its sink, `modified` the times that
    were stated, in nanoseconds; `spool` has the unfinished
    files by their uploads, also those that are suspended. For a restart, call `recover`.
    """

    location = "/memory"
    part_size = 2 * 1024 * 1024

    def __init__(self, on_conflict: OnConflict = "rename") -> None:
        self.contents: dict[str, bytes] = {}
        self.identities: dict[str, str] = {}
        self.modified: dict[str, int] = {}
        self.spool: dict[str, Unfinished] = {}
        self.open_sinks = 0
        self.settings = Storage(on_conflict=on_conflict)
        self.numbers = count()

    def make_sink(self, upload: str, path: str) -> "MemorySink":
        """Make the sink for `create` and `reopen`: a store with other sinks overrides this."""
        return MemorySink(self, path, upload)

    async def create(
        self,
        upload: str,
        path: str,
        on_conflict: OnConflict | None = None,
        durability: Durability | None = None,
        size: int | None = None,
    ) -> "MemorySink":
        del size
        await trio.lowlevel.checkpoint()
        self._refuse_conflict(path, on_conflict or self.settings.on_conflict)
        sink = self.make_sink(upload, path)
        sink.settle(on_conflict, durability)
        return sink

    async def reopen(
        self, upload: str, path: str, on_conflict: OnConflict, durability: Durability
    ) -> "MemorySink":
        await trio.lowlevel.checkpoint()
        unfinished = self.spool.get(upload)
        if unfinished is None:
            raise MissingError("there is no such file")
        self._refuse_conflict(path, on_conflict)
        sink = self.make_sink(upload, path)
        sink.resume(unfinished, on_conflict, durability)
        return sink

    async def drop(self, upload: str) -> None:
        await trio.lowlevel.checkpoint()
        self.spool.pop(upload, None)

    def recover(
        self,
        trusted: Mapping[str, int | None],
        step: Callable[[], None] = lambda: None,
        spared: Collection[str] = (),
        claimed: Collection[str] = (),
        *,
        running: bool = False,
    ) -> Mapping[str, Recovered]:
        """As after a restart: the sinks of before must not be used any more."""
        assert not claimed, "no other node has this memory"
        assert not running
        self.open_sinks = 0
        kept = {upload: file for upload, file in self.spool.items() if upload in spared}
        for upload, file in self.spool.items():
            step()
            certain = trusted.get(upload, 0)
            data = file.data if certain is None else file.data[:certain]
            if data:
                kept[upload] = Unfinished(bytearray(data), 0, min(file.durable, len(data)))
        self.spool = kept
        return {
            upload: Recovered(len(file.data))
            for upload, file in kept.items()
            if upload not in spared
        }

    def make_space(self) -> bool:
        return False

    async def free(self) -> int | None:
        await trio.lowlevel.checkpoint()
        return 2**62

    async def admit(self, path: str, on_conflict: OnConflict) -> Space | None:
        self._refuse_conflict(path, on_conflict)
        return await self.free_at(path)

    async def check(self) -> None:
        await trio.lowlevel.checkpoint()

    def scan(
        self,
        identities: Collection[str] = (),
        progress: Progress = ignore_progress,
        undated: Collection[str] = (),
    ) -> Found:
        sizes = {name: len(content) for name, content in self.contents.items()}
        names = {one: name for one, name in self.identities.items() if one in identities}
        progress(len(sizes))
        return Found(sizes, names, dict.fromkeys(undated & sizes.keys(), 0.0))

    async def look(self, names: Sequence[str]) -> Sequence[Standing | None]:
        await trio.lowlevel.checkpoint()
        return [
            Standing(
                len(self.contents[name]),
                self.modified.get(name, time.time_ns()),
                identities=tuple(one for one, its in self.identities.items() if its == name),
            )
            if name in self.contents
            else None
            for name in names
        ]

    async def remove(
        self, names: Sequence[str], folders: Sequence[str] = ()
    ) -> Sequence[Removed | StorageError]:
        del folders  # a file has its folder in its name
        await trio.lowlevel.checkpoint()
        return [Removed(name, self.contents.pop(name, None) is not None) for name in names]

    async def walk(self, count: int) -> AsyncGenerator[Mapping[str, int | None], None]:
        await trio.lowlevel.checkpoint()
        names = sorted(self.contents)
        for first in range(0, len(names), count):
            yield dict.fromkeys(names[first : first + count])

    def reconfigure(self, settings: Storage) -> None:
        self.settings = settings

    def close(self) -> None:
        """Nothing is held open."""

    def _refuse_conflict(self, path: str, on_conflict: OnConflict) -> None:
        if on_conflict == "reject" and path in self.contents:
            raise ConflictError(f"a file named {path} exists already")


class MemorySink(Sink):
    """One file in the making."""

    def __init__(self, store: MemoryStore, path: str, upload: str | None = None) -> None:
        self._store = store
        self._folder, self._slash, self._name = path.rpartition("/")
        self._on_conflict = store.settings.on_conflict
        self._durability = store.settings.durability
        self._identity = f"sink-{next(store.numbers)}"
        self._upload = self._identity if upload is None else upload
        self.replaces = self._on_conflict == "replace"
        self._file = store.spool[self._upload] = Unfinished(bytearray())
        self._open = True
        store.open_sinks += 1

    def settle(self, on_conflict: OnConflict | None, durability: Durability | None) -> None:
        """Use these instead of the store's settings."""
        self._on_conflict = on_conflict or self._on_conflict
        self._durability = durability or self._durability
        self.replaces = self._on_conflict == "replace"

    def resume(
        self, unfinished: Unfinished, on_conflict: OnConflict, durability: Durability
    ) -> None:
        """Go on with a suspended file."""
        self._file = self._store.spool[self._upload] = unfinished
        self.settle(on_conflict, durability)

    @property
    def offset(self) -> int:
        return len(self._file.data)

    @property
    def check(self) -> str | None:
        return self._file.check

    async def catch_up(self) -> None:
        while self._file.hashed < len(self._file.data):
            await trio.lowlevel.checkpoint()
            self._file.hashed = min(self._file.hashed + STEP, len(self._file.data))

    async def checkpoint(self) -> int:
        await trio.lowlevel.checkpoint()
        if self._durability == "full":
            self._file.durable = len(self._file.data)
        return self._file.durable

    async def suspend(self) -> int:
        self._check_open()
        with trio.CancelScope(shield=True):
            durable = await self.checkpoint()
        self._close()
        return durable

    async def write(self, pieces: Sequence[bytes]) -> None:
        self._check_open()
        await trio.lowlevel.checkpoint()
        level = self._file.hashed == len(self._file.data)
        for piece in pieces:
            self._file.data += piece
        if level:
            self._file.hashed = len(self._file.data)

    async def digest(self, kind: str) -> str:
        await trio.lowlevel.checkpoint()
        await self.catch_up()
        return hashlib.new(kind, self._file.data, usedforsecurity=False).hexdigest()

    @property
    def identity(self) -> str:
        return self._identity

    async def prepare(self) -> None:
        await trio.lowlevel.checkpoint()

    async def commit(self) -> Stored:
        await trio.lowlevel.checkpoint()
        name, number = self._name, 0
        folder = self._folder + self._slash
        while folder + name in self._store.contents and not self.replaces:
            if self._on_conflict == "reject":
                raise ConflictError(f"a file named {name} exists already")
            number += 1
            name = numbered(self._name, number)
        path = folder + name
        replaced = [one for one, other in self._store.identities.items() if other == path]
        for one in replaced:
            del self._store.identities[one]
        self._store.contents[path] = bytes(self._file.data)
        self._store.identities[self._identity] = path
        if self.modified is not None:
            self._store.modified[path] = self.modified
        self._remove()
        return Stored(path, f"{self._store.location}/{path}", self._identity)

    async def discard(self) -> None:
        if self._open:
            self._remove()

    def _check_open(self) -> None:
        if not self._open:
            raise StorageError("the file was suspended, stored or discarded")

    def _remove(self) -> None:
        self._close()
        # After `recover`, a file of the same upload is that of another process.
        if self._store.spool.get(self._upload) is self._file:
            del self._store.spool[self._upload]

    def _close(self) -> None:
        self._open = False
        self._store.open_sinks -= 1
