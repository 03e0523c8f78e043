"""Two nodes with one directory, as one store: what one has begun, the other goes on with."""

from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from pathlib import Path

from helpers.local_store import open_local, recover_and_drop

from galileod.policy.publication import Durability, OnConflict
from galileod.storage.base import Sink, Store, Stored
from galileod.storage.errors import StorageError
from galileod.storage.finished import (
    Found,
    Progress,
    Recovered,
    Removed,
    Space,
    Standing,
    ignore_progress,
)
from galileod.storage.local import LocalStore
from galileod.storage.settings import Storage
from galileod.storage.whole import WholeFile, Written


class TwoNodes(Store):
    """The first writes by sinks, the second whole files; a file is reopened by each in turn."""

    def __init__(self, first: LocalStore, second: LocalStore) -> None:
        self.first = first
        self.second = second
        self.location = first.location
        self.part_size = first.part_size
        self._settings = first._settings
        self._next = second
        self._restarted = False

    @classmethod
    def open(cls, directory: Path, on_conflict: OnConflict) -> "TwoNodes":
        first, second = (open_local(directory, on_conflict, node=node) for node in ("a", "b"))
        return cls(first, second)

    def restart(self) -> "TwoNodes":
        self.close()
        first, second = (LocalStore.open(self._settings, node=node) for node in ("a", "b"))
        nodes = TwoNodes(first, second)
        nodes._restarted = True
        return nodes

    async def create(
        self,
        upload: str,
        path: str,
        on_conflict: OnConflict | None = None,
        durability: Durability | None = None,
        size: int | None = None,
    ) -> Sink:
        return await self.first.create(upload, path, on_conflict, durability, size)

    async def write_whole(self, files: Sequence[WholeFile]) -> Sequence[Written | StorageError]:
        return await self.second.write_whole(files)

    async def publish_whole(self, written: Sequence[Written]) -> Sequence[Stored | StorageError]:
        return await self.second.publish_whole(written)

    async def discard_whole(self, written: Sequence[Written]) -> None:
        await self.second.discard_whole(written)

    async def reopen(
        self, upload: str, path: str, on_conflict: OnConflict, durability: Durability
    ) -> Sink:
        """What only the other node remembers, as no process does after a restart, is read back."""
        node = self._next
        self._next = self.first if node is self.second else self.second
        sink = await node.reopen(upload, path, on_conflict, durability)
        if not self._restarted:
            await sink.catch_up()
        return sink

    async def drop(self, upload: str) -> None:
        await self.second.drop(upload)

    def recover(
        self,
        trusted: Mapping[str, int | None],
        step: Callable[[], None] = lambda: None,
        spared: Collection[str] = (),
        claimed: Collection[str] = (),
        *,
        running: bool = False,
    ) -> Mapping[str, Recovered]:
        arguments = trusted, step, spared, claimed
        first, second = (
            recover_and_drop(node, *arguments, running=running)
            for node in (self.first, self.second)
        )
        assert not set(first) & set(second)
        return {**first, **second}

    def make_space(self) -> bool:
        return self.first.make_space()

    async def free(self) -> int | None:
        return await self.second.free()

    async def admit(self, path: str, on_conflict: OnConflict) -> Space:
        return await self.second.admit(path, on_conflict)

    async def check(self) -> None:
        await self.first.check()
        await self.second.check()

    def scan(
        self,
        identities: Collection[str] = (),
        progress: Progress = ignore_progress,
        undated: Collection[str] = (),
    ) -> Found:
        return self.second.scan(identities, progress, undated)

    def walk(self, count: int) -> AsyncGenerator[Mapping[str, int | None], None]:
        return self.second.walk(count)

    async def look(self, names: Sequence[str]) -> Sequence[Standing | StorageError | None]:
        return await self.first.look(names)

    async def remove(
        self, names: Sequence[str], folders: Sequence[str] = ()
    ) -> Sequence[Removed | StorageError]:
        return await self.second.remove(names, folders)

    def reconfigure(self, settings: Storage) -> None:
        self.first.reconfigure(settings)
        self.second.reconfigure(settings)

    def close(self) -> None:
        self.first.close()
        self.second.close()
