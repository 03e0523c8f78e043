"""Stores that store each file in one step, for tests that store it by a sink."""

from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from typing import Final, TypeVar

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

KINDS: Final = ("sha256", "sha512", "blake2b")

T = TypeVar("T")


class WholeStore(Store):
    """`store`, of which `admit`, `write_whole`, `publish_whole` and `discard_whole` are used."""

    def __init__(self, store: Store, settings: Storage) -> None:
        self.store = store
        self.location = store.location
        self.part_size = store.part_size
        self._settings = settings

    async def create(
        self,
        upload: str,
        path: str,
        on_conflict: OnConflict | None = None,
        durability: Durability | None = None,
        size: int | None = None,
    ) -> "WholeSink":
        del size
        on_conflict = on_conflict or self._settings.on_conflict
        durability = durability or self._settings.durability
        await self.store.admit(path, on_conflict)
        return WholeSink(self.store, upload, path, on_conflict, durability)

    async def reopen(
        self, upload: str, path: str, on_conflict: OnConflict, durability: Durability
    ) -> Sink:
        return await self.store.reopen(upload, path, on_conflict, durability)

    async def drop(self, upload: str) -> None:
        await self.store.drop(upload)

    def recover(
        self,
        trusted: Mapping[str, int | None],
        step: Callable[[], None] = lambda: None,
        spared: Collection[str] = (),
        claimed: Collection[str] = (),
        *,
        running: bool = False,
    ) -> Mapping[str, Recovered]:
        return self.store.recover(trusted, step, spared, claimed, running=running)

    def make_space(self) -> bool:
        return self.store.make_space()

    async def free(self) -> int | None:
        return await self.store.free()

    async def free_at(self, path: str) -> Space | None:
        return await self.store.admit(path, "rename")

    async def check(self) -> None:
        await self.store.check()

    def scan(
        self,
        identities: Collection[str] = (),
        progress: Progress = ignore_progress,
        undated: Collection[str] = (),
    ) -> Found:
        return self.store.scan(identities, progress, undated)

    async def look(self, names: Sequence[str]) -> Sequence[Standing | StorageError | None]:
        return await self.store.look(names)

    async def remove(
        self, names: Sequence[str], folders: Sequence[str] = ()
    ) -> Sequence[Removed | StorageError]:
        return await self.store.remove(names, folders)

    def walk(self, count: int) -> AsyncGenerator[Mapping[str, int | None], None]:
        return self.store.walk(count)

    def reconfigure(self, settings: Storage) -> None:
        self._settings = settings
        self.store.reconfigure(settings)

    def close(self) -> None:
        self.store.close()


class WholeSink(Sink):
    """Collects one file, and writes it at `prepare`, `digest` or `commit`."""

    def __init__(
        self,
        store: Store,
        upload: str,
        path: str,
        on_conflict: OnConflict,
        durability: Durability,
    ) -> None:
        self.replaces = on_conflict == "replace"
        self._store = store
        self._upload = upload
        self._path = path
        self._on_conflict = on_conflict
        self._durability = durability
        self._pieces: list[bytes] = []
        self._written: Written | None = None

    @property
    def offset(self) -> int:
        return sum(map(len, self._pieces))

    @property
    def check(self) -> str | None:
        return None

    async def catch_up(self) -> None:
        raise NotImplementedError

    async def checkpoint(self) -> int:
        raise NotImplementedError

    async def suspend(self) -> int:
        raise NotImplementedError

    async def write(self, pieces: Sequence[bytes]) -> None:
        assert self._written is None, "a whole file is written once"
        self._pieces += pieces

    async def digest(self, kind: str) -> str:
        return (await self._write()).digests[kind]

    @property
    def identity(self) -> str:
        assert self._written is not None, "not final before `prepare`"
        return self._written.identity

    async def prepare(self) -> None:
        await self._write()

    async def commit(self) -> Stored:
        written = await self._write()
        assert written.replaces == self.replaces
        return only(await self._store.publish_whole([written]))

    async def discard(self) -> None:
        if self._written is not None:
            await self._store.discard_whole([self._written])

    async def _write(self) -> Written:
        if self._written is None:
            file = WholeFile(
                self._upload,
                self._path,
                self._pieces,
                KINDS,
                self._on_conflict,
                self._durability,
                self.modified,
            )
            self._written = only(await self._store.write_whole([file]))
        return self._written


class WholeLocalStore(LocalStore):
    """A local store whose sinks store each file in one step."""

    async def create(  # type: ignore[override]
        self,
        upload: str,
        path: str,
        on_conflict: OnConflict | None = None,
        durability: Durability | None = None,
        size: int | None = None,
    ) -> WholeSink:
        del size
        on_conflict = on_conflict or self._settings.on_conflict
        durability = durability or self._settings.durability
        await self.admit(path, on_conflict)
        return WholeSink(self, upload, path, on_conflict, durability)


def only(results: Sequence[T | StorageError]) -> T:
    """The one result; raises it if it is an error."""
    (result,) = results
    if isinstance(result, StorageError):
        raise result
    return result
