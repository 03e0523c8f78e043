"""The store in a bucket of an S3-compatible object storage."""

import os
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Final

import trio

from galileod.ledger.lease import Lease
from galileod.ledger.objects import Objects, ObjectUpload
from galileod.policy.publication import Durability, OnConflict
from galileod.storage.base import Store, Stored
from galileod.storage.errors import (
    MissingError,
    StorageBusyError,
    StorageError,
)
from galileod.storage.finished import (
    Found,
    Progress,
    Recovered,
    Removed,
    Space,
    Standing,
    ignore_progress,
)
from galileod.storage.settings import MAX_PART, Storage
from galileod.storage.whole import WholeFile, Written

from . import whole
from .checking import Checker
from .claims import Target, conflict, has_name
from .client import Client
from .looking import look, remove_files, walk
from .memory import PartMemory
from .parts import MAX_PARTS
from .recovery import Ask, at_once, is_published, published, recover
from .removal import remove
from .sha1 import Sha1
from .shared import CONNECTIONS, Shared, ledger_steps
from .sink import S3Sink
from .sweep import Sweeper
from .tail import check_tail

WRITE_SIZE: Final = 2 * 1024 * 1024
"""Bytes of one thread call: enough to outweigh its cost, and few enough to stay in the CPU cache
while they are copied and hashed."""

_MIB: Final = 1 << 20


class S3Store(Store):
    """Files in the bucket of `client`, below `settings.s3.prefix`; `objects` has what is begun.

    Files are always durable, so `durability` changes nothing.
    """

    part_size = WRITE_SIZE
    claims_names = True
    walks_in_order = True
    remote = True

    def __init__(
        self,
        settings: Storage,
        client: Client,
        objects: Objects,
        memory: PartMemory,
        restore: Callable[[], None] = lambda: None,
        ask: Ask = at_once,
        lease: Lease | None = None,
    ) -> None:
        prefix = settings.s3.prefix
        self.location = settings.s3.location
        self.home = self.location
        self.shared = Shared(
            client, objects, memory, prefix, self.location, lease=lease or Lease.endless()
        )
        self._settings = settings
        self._directory = os.path.abspath(settings.directory)
        self._checker = Checker(self.shared, restore)
        self._ask = ask

    @classmethod
    def open(
        cls,
        settings: Storage,
        objects: Objects,
        memory: PartMemory,
        restore: Callable[[], None],
        ask: Ask,
        lease: Lease | None = None,
    ) -> "S3Store":
        """Open the store; `recover` is to be called next.

        `restore` restores the state directory. `ask` makes the requests of the start.
        `lease` is that of this node, None if there are no others. Blocks; called only at startup.
        Raises StorageError if the bucket cannot be used.
        """
        Sha1()  # the library for it may be missing
        client = ask(partial(Client.open, settings.s3, requests=CONNECTIONS))
        try:
            ask(client.for_checks().check)
        except BaseException:
            client.close()
            raise
        return cls(settings, client, objects, memory, restore, ask, lease)

    @property
    def directory(self) -> str:
        """`storage.directory`, which has the ledger."""
        return self._directory

    async def create(
        self,
        upload: str,
        path: str,
        on_conflict: OnConflict | None = None,
        durability: Durability | None = None,
        size: int | None = None,
    ) -> S3Sink:
        """Enter the upload in the ledger. Only a name that must not exist is looked at."""
        del durability
        on_conflict = on_conflict or self._settings.on_conflict
        part_size = part_size_for(size, self._settings.s3.part_size, self.shared.memory.largest)
        await self.admit(path, on_conflict)
        known = ObjectUpload(upload, size or 0, part_size)
        with ledger_steps():
            await self.shared.objects.begin(upload, known.size, part_size)
        return S3Sink(self.shared, Target(upload, path, on_conflict), known, size)

    async def write_whole(self, files: Sequence[WholeFile]) -> Sequence[Written | StorageError]:
        """Hash all of them in one thread call. They stay in memory until they are published."""
        return await whole.write(self.shared, files)

    async def publish_whole(self, written: Sequence[Written]) -> Sequence[Stored | StorageError]:
        """Claim the names of all in one step of the ledger, and store them at the same time."""
        await trio.lowlevel.checkpoint_if_cancelled()
        return await whole.publish(self.shared, written)

    async def discard_whole(self, written: Sequence[Written]) -> None:
        """Nothing is stored of what is not published."""

    async def reopen(
        self, upload: str, path: str, on_conflict: OnConflict, durability: Durability
    ) -> S3Sink:
        """Go on with what the ledger knows; only the tail is looked at.

        If the answer to its Complete was lost, the file may be published.
        """
        del durability
        shared = self.shared
        if upload in shared.late:
            raise StorageBusyError("parts of an earlier connection are still on their way")
        with ledger_steps():
            known = await shared.objects.get(upload)
        if known is None or not known.offset or known.abandoned:
            raise MissingError("there is no file of this upload")
        done = known.completing and await shared.request(partial(is_published, shared, known))
        if not done:
            if on_conflict == "reject":
                await self.admit(path, on_conflict)
            check_memory(min(known.size or known.part_size, known.part_size), shared.memory.largest)
            await check_tail(shared, known)
            with ledger_steps():
                known = await shared.objects.resume(upload)
            if known is None:
                raise MissingError("the upload was discarded")
        return S3Sink(shared, Target(upload, path, on_conflict), known, known.size or None)

    async def drop(self, upload: str) -> None:
        """Abort its multipart upload, remove its tail, and forget it."""
        await remove(self.shared, upload)

    def recover(
        self,
        trusted: Mapping[str, int | None],
        step: Callable[[], None] = lambda: None,
        spared: Collection[str] = (),
        claimed: Collection[str] = (),
        *,
        running: bool = False,
    ) -> Mapping[str, Recovered]:
        """See `recovery.recover`: the ledger knows what there is, and of whom."""
        del claimed, running
        return recover(self.shared, trusted, step, self._ask, spared)

    def make_space(self) -> bool:
        """What is kept takes no space beside the ledger."""
        return False

    async def free(self) -> None:
        """A bucket has no limit that it tells."""
        await trio.lowlevel.checkpoint_if_cancelled()

    async def admit(self, path: str, on_conflict: OnConflict) -> Space | None:
        """Look whether there is a file of that name, if there must be none."""
        self.shared.check_name(path)
        if on_conflict == "reject" and await has_name(self.shared, await self.shared.head(path)):
            raise conflict(path)
        return None

    async def check(self) -> None:
        """See `Checker.check`."""
        await self._checker.check()

    def scan(
        self,
        identities: Collection[str] = (),
        progress: Progress = ignore_progress,
        undated: Collection[str] = (),
    ) -> Found:
        """The names of the files with these identities; the ledger is right about all others."""
        del progress, undated
        return Found(None, published(self.shared, identities, self._ask))

    def walk(self, count: int) -> AsyncGenerator[Mapping[str, int | None], None]:
        """See `Store.walk`: a request for each page."""
        return walk(self.shared, count)

    async def look(self, names: Sequence[str]) -> Sequence[Standing | StorageError | None]:
        """Ask for each of them."""
        return await look(self.shared, names)

    async def remove(
        self, names: Sequence[str], folders: Sequence[str] = ()
    ) -> Sequence[Removed | StorageError]:
        """Remove each of them. There are no folders."""
        del folders
        return await remove_files(self.shared, names)

    def reconfigure(self, settings: Storage) -> None:
        """Use `on_conflict` and the size of parts; the bucket stays the same."""
        self._settings = settings

    async def maintain(self, keep: Callable[[], float]) -> None:
        """See `sweep`."""
        await Sweeper(self.shared, keep).run()

    def hurry(self, seconds: float) -> None:
        """See `Publishing.hurry`."""
        self.shared.publishing.hurry(seconds)

    def close(self) -> None:
        """Close the connections, and end the threads that are kept."""
        self.shared.threads.hashers.close()
        self.shared.client.close()


def part_size_for(size: int | None, smallest: int, largest: int) -> int:
    """The size of the parts of a file, in bytes, so that they are at most MAX_PARTS.

    Raises StorageError if it is above MAX_PART, or above `largest`, which fits into the memory.
    """
    least = -(-(size or 0) // MAX_PARTS)
    rounded = -(-least // _MIB) * _MIB
    part_size = max(smallest, rounded)
    if part_size > MAX_PART:
        raise StorageError(f"a file has at most {MAX_PARTS} parts of {MAX_PART} bytes")
    check_memory(part_size, largest)
    return part_size


def check_memory(part_size: int, largest: int) -> None:
    """Raise StorageError if a part does not fit into the memory, which would be waited for."""
    if part_size > largest:
        raise StorageError(
            f"the file is stored in parts of {part_size} bytes, for which chunks.memory is too"
            " small"
        )
