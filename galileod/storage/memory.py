"""A store that keeps files in memory: for tests, where no thread may run beside trio's clock."""

import hashlib
from collections.abc import Sequence

import trio

from galileod.policy.names import numbered

from .base import ConflictError, Sink, Store, Stored


class MemoryStore(Store):
    """Files by path in `files`; `open_sinks` counts uploads that were neither ended nor stored."""

    def __init__(self, on_conflict: str = "rename") -> None:
        self.files: dict[str, bytes] = {}
        self.on_conflict = on_conflict
        self.open_sinks = 0

    async def create(self, upload: str, path: str) -> "MemorySink":
        """Begin a file; `upload` is not needed here."""
        del upload
        await trio.lowlevel.checkpoint()
        if self.on_conflict == "reject" and path in self.files:
            raise ConflictError(f"a file named {path} is there already")
        return MemorySink(self, path)

    async def free(self) -> int:
        """As much as one likes."""
        await trio.lowlevel.checkpoint()
        return 2**62

    async def check(self) -> None:
        """Memory is always there."""
        await trio.lowlevel.checkpoint()


class MemorySink(Sink):
    """One file in the making."""

    def __init__(self, store: MemoryStore, path: str) -> None:
        self._store = store
        self._folder, self._slash, self._name = path.rpartition("/")
        self._on_conflict = store.on_conflict
        self.replaces = store.on_conflict == "replace"
        self._data = bytearray()
        self._open = True
        store.open_sinks += 1

    async def write(self, pieces: Sequence[bytes]) -> None:
        """Append."""
        await trio.lowlevel.checkpoint()
        for piece in pieces:
            self._data += piece

    async def digest(self, kind: str) -> str:
        """Hash it all."""
        await trio.lowlevel.checkpoint()
        return hashlib.new(kind, self._data, usedforsecurity=False).hexdigest()

    @property
    def inode(self) -> int:
        """Nothing survives here to be known again."""
        return id(self)

    async def commit(self) -> Stored:
        """Put the file among the others."""
        await trio.lowlevel.checkpoint()
        name, number = self._name, 0
        folder = self._folder + self._slash
        while folder + name in self._store.files and not self.replaces:
            if self._on_conflict == "reject":
                raise ConflictError(f"a file named {name} is there already")
            number += 1
            name = numbered(self._name, number)
        self._store.files[folder + name] = bytes(self._data)
        self._close()
        return Stored(folder + name, f"memory:{folder}{name}")

    async def discard(self) -> None:
        """Forget it."""
        if self._open:
            self._close()

    def _close(self) -> None:
        self._open = False
        self._store.open_sinks -= 1
