"""A store that keeps files in memory, without a thread, for which trio's clock would not wait."""

import hashlib
from collections.abc import Collection, Sequence
from itertools import count

import trio

from galileod.policy.names import numbered
from galileod.policy.publication import OnConflict
from galileod.storage.base import (
    ConflictError,
    Found,
    Progress,
    Sink,
    Store,
    Stored,
    ignore_progress,
)
from galileod.storage.settings import Storage


class MemoryStore(Store):
    """Files by name in `contents`; `open_sinks` counts the sinks neither committed nor discarded.

    `identities` has the name of each file by the identity of its sink.
    """

    location = "/memory"
    part_size = 2 * 1024 * 1024

    def __init__(self, on_conflict: OnConflict = "rename") -> None:
        self.contents: dict[str, bytes] = {}
        self.identities: dict[str, str] = {}
        self.open_sinks = 0
        self.settings = Storage(on_conflict=on_conflict)
        self.numbers = count()

    async def create(self, upload: str, path: str) -> "MemorySink":
        del upload
        await trio.lowlevel.checkpoint()
        if self.settings.on_conflict == "reject" and path in self.contents:
            raise ConflictError(f"a file named {path} exists already")
        return MemorySink(self, path)

    async def free(self) -> int | None:
        await trio.lowlevel.checkpoint()
        return 2**62

    async def check(self) -> None:
        await trio.lowlevel.checkpoint()

    def scan(self, identities: Collection[str] = (), progress: Progress = ignore_progress) -> Found:
        sizes = {name: len(content) for name, content in self.contents.items()}
        names = {one: name for one, name in self.identities.items() if one in identities}
        progress(len(sizes))
        return Found(sizes, names)

    def reconfigure(self, settings: Storage) -> None:
        self.settings = settings

    def close(self) -> None:
        """Nothing is held open."""


class MemorySink(Sink):
    """One file in the making."""

    def __init__(self, store: MemoryStore, path: str) -> None:
        self._store = store
        self._folder, self._slash, self._name = path.rpartition("/")
        self._on_conflict = store.settings.on_conflict
        self._identity = f"sink-{next(store.numbers)}"
        self.replaces = self._on_conflict == "replace"
        self._data = bytearray()
        self._open = True
        store.open_sinks += 1

    async def write(self, pieces: Sequence[bytes]) -> None:
        await trio.lowlevel.checkpoint()
        for piece in pieces:
            self._data += piece

    async def digest(self, kind: str) -> str:
        await trio.lowlevel.checkpoint()
        return hashlib.new(kind, self._data, usedforsecurity=False).hexdigest()

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
        self._store.contents[path] = bytes(self._data)
        self._store.identities[self._identity] = path
        self._close()
        return Stored(path, f"{self._store.location}/{path}")

    async def discard(self) -> None:
        if self._open:
            self._close()

    def _close(self) -> None:
        self._open = False
        self._store.open_sinks -= 1
