"""The store in a local directory: opening it, and its threads."""

import os
from collections.abc import (
    AsyncGenerator,
    Callable,
    Collection,
    Generator,
    Mapping,
    Sequence,
)
from contextlib import AbstractAsyncContextManager, ExitStack
from copy import copy
from typing import Final

import trio

from galileod.policy.publication import Durability, OnConflict
from galileod.storage.base import CLEANUP_SECONDS, Store, Stored
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
from galileod.storage.oserrors import translated
from galileod.storage.permission import Permission
from galileod.storage.settings import Storage
from galileod.storage.whole import WholeFile, Written

from .directory import Directory
from .folders import Folder, Folders
from .nodeslock import NodesLock
from .parts import StoreParts
from .recovery import Left, make_space, recover, recover_node
from .removing import look, remove
from .reopening import Opened, reopen
from .scan import find, scan, walk
from .sink import LocalSink
from .spool import Spool
from .spools import OtherSpools
from .statedir import StateDirectory
from .suspended import Suspended, SuspendedFiles, close_unnamed
from .target import check_target, create_file, create_unnamed, fits
from .threads import Threads
from .timing import Timings
from .whole import WholeFiles

DIRECTORY_HOME: Final = "directory:"
"""What precedes the identity of a directory in the `home` of a node."""

PART_SIZE: Final = 2 * 1024 * 1024
"""Bytes of one thread call: enough to outweigh its cost, and few enough to stay in the CPU cache
while they are hashed and written."""


class LocalStore(Store):
    """Files in `settings.directory`, which one process at a time may open. Use `open`.

    As a node, it is one of several processes with a common ledger, which all store files there.
    """

    def __init__(
        self, settings: Storage, directory: Directory, state: StateDirectory, timings: Timings
    ) -> None:
        self.location = directory.path
        self.part_size = PART_SIZE
        self.threads = Threads()
        self._settings = settings
        self._directory = directory
        self._state = state
        self._spool = Spool(state.spool_fd, timings.fsync_directory)
        self._suspended = SuspendedFiles()
        self._others: OtherSpools | None = None
        if state.node is not None and state.nodes_fd is not None:
            self._others = OtherSpools(state.nodes_fd, state.node, self._spool)
            self.home = f"{DIRECTORY_HOME}{state.identity}"
        self._lock = None if self._others is None else NodesLock(state)
        folders = Folders(
            directory.fd,
            timings.fsync_directory,
            lambda: self._spool.maps_names,
            state.fd,
            shared=self._others is not None,
        )
        self._parts = StoreParts(
            directory, folders, self._spool, self._suspended, self.threads, timings, self._others
        )
        self._whole = WholeFiles(self._parts)
        self._opened = ExitStack()

    @classmethod
    def open(
        cls,
        settings: Storage,
        timings: Timings = Timings(),  # noqa: B008  it is frozen
        node: str | None = None,
    ) -> "LocalStore":
        """Open the directory; create it if it is missing. `recover` is to be called next.

        `node` is the name of this node. Blocks; called only at startup. Raises StorageError if
        another daemon uses the directory, unless both are nodes with different names; if it cannot
        be written, or if its filesystem can neither rename without replacing nor link.
        """
        path = os.path.abspath(settings.directory)
        with translated(f"cannot use {path}"), ExitStack() as opened:
            directory = Directory.open(path, opened, shared=node is not None)
            state = StateDirectory.open(directory, opened, node)
            store = cls(settings, directory, state, timings)
            store._spool.examine()
            store._opened = opened.pop_all()
        return store

    async def create(
        self,
        upload: str,
        path: str,
        on_conflict: OnConflict | None = None,
        durability: Durability | None = None,
        size: int | None = None,
    ) -> LocalSink:
        """Check what the folder may refuse, and create the file there or in the spool."""
        del size  # the caller has found space for it
        on_conflict = on_conflict or self._settings.on_conflict
        durability = durability or self._settings.durability
        opened = await trio.to_thread.run_sync(
            self._create, upload, path, on_conflict, limiter=self.threads.openers
        )
        return self._sink(upload, path, on_conflict, durability, opened)

    async def write_whole(self, files: Sequence[WholeFile]) -> Sequence[Written | StorageError]:
        """Write, hash and sync all of them in one thread call."""
        return await trio.to_thread.run_sync(self._write_whole, files, limiter=self.threads.batches)

    async def publish_whole(self, written: Sequence[Written]) -> Sequence[Stored | StorageError]:
        """Publish all of them in one thread call, with one fsync for each folder."""
        return await trio.to_thread.run_sync(
            self._whole.publish, written, limiter=self.threads.committers
        )

    async def discard_whole(self, written: Sequence[Written]) -> None:
        """Remove them from the spool in one thread call."""
        if not self._whole.unpublished(written):
            return
        # As for `LocalSink.discard`.
        with trio.CancelScope(shield=True, deadline=trio.current_time() + CLEANUP_SECONDS):
            await trio.to_thread.run_sync(
                self._whole.discard, written,
                abandon_on_cancel=True, limiter=trio.CapacityLimiter(1),
            )  # fmt: skip

    async def reopen(
        self, upload: str, path: str, on_conflict: OnConflict, durability: Durability
    ) -> LocalSink:
        """Open the spool file again, and check what its folder may refuse.

        That of an upload that another node has kept is moved here.
        """
        suspended = self._suspended.find(upload)
        opened = await trio.to_thread.run_sync(
            self._reopen, upload, path, on_conflict, durability, suspended,
            limiter=self.threads.openers,
        )  # fmt: skip
        self._suspended.forget(upload)
        return self._sink(upload, path, on_conflict, durability, opened)

    async def drop(self, upload: str) -> None:
        """Remove the spool file, and close one without a name."""
        suspended = self._suspended.find(upload)
        self._suspended.forget(upload)
        # As for `LocalSink.discard`.
        with trio.CancelScope(shield=True, deadline=trio.current_time() + CLEANUP_SECONDS):
            await trio.to_thread.run_sync(
                self._drop, upload, suspended,
                abandon_on_cancel=True, limiter=trio.CapacityLimiter(1),
            )  # fmt: skip

    def recover(
        self,
        trusted: Mapping[str, int | None],
        step: Callable[[], None] = lambda: None,
        spared: Collection[str] = (),
        claimed: Collection[str] = (),
        *,
        running: bool = False,
    ) -> Mapping[str, Recovered]:
        """Look at each file in the spool. Those without a name are lost with their process."""
        if self._others is not None:
            left = Left(trusted, spared, claimed)
            return recover_node(self._others, left, step, running=running)
        return recover(self._spool, trusted, step, spared)

    def make_space(self) -> bool:
        """See `recovery.make_space`."""
        return make_space(self._spool)

    async def free(self) -> int:
        """The free space of the filesystem for users other than root, in bytes."""
        # If the disk hangs, the limiter bounds the threads that cancelled callers leave behind.
        return await trio.to_thread.run_sync(
            self._free, limiter=self.threads.openers, abandon_on_cancel=True
        )

    async def free_at(self, path: str) -> Space:
        """The free space of the filesystem on which the folder of `path` is, or will be."""
        return await trio.to_thread.run_sync(
            self._space, path, limiter=self.threads.openers, abandon_on_cancel=True
        )

    async def admit(self, path: str, on_conflict: OnConflict) -> Space:
        """`free_at`, and the checks of `create`, in one thread call."""
        return await trio.to_thread.run_sync(
            self._admit, path, on_conflict, limiter=self.threads.openers, abandon_on_cancel=True
        )

    async def admit_all(
        self, paths: Sequence[str], on_conflict: OnConflict
    ) -> Sequence[Space | StorageError]:
        """`admit` for all of them, in one thread call."""
        return await trio.to_thread.run_sync(
            self._admit_all, paths, on_conflict,
            limiter=self.threads.openers, abandon_on_cancel=True,
        )  # fmt: skip

    async def check(self) -> None:
        """Check the directory; create a file and publish it in the spool, and remove it."""
        await trio.to_thread.run_sync(
            self._check, limiter=self.threads.checkers, abandon_on_cancel=True
        )

    def scan(
        self,
        identities: Collection[str] = (),
        progress: Progress = ignore_progress,
        undated: Collection[str] = (),
    ) -> Found:
        """The finished files. A name that is not UTF-8, which others made, is escaped.

        A node finds those with the identities, since others store files meanwhile.
        """
        if self._others is not None:
            return find(self._directory.fd, identities, progress)
        return scan(self._directory.fd, identities, progress, undated)

    async def walk(self, count: int) -> AsyncGenerator[Mapping[str, int | None], None]:
        """See `Store.walk`."""
        pages = self._walk(count)
        try:
            while names := await trio.to_thread.run_sync(next, pages, ()):
                yield dict.fromkeys(names)
        finally:
            with trio.CancelScope(shield=True):  # it closes folders
                await trio.to_thread.run_sync(pages.close)

    async def look(self, names: Sequence[str]) -> Sequence[Standing | StorageError | None]:
        """Look at all of them in one thread call."""
        return await trio.to_thread.run_sync(
            look, self._parts, names, limiter=self.threads.lookers, abandon_on_cancel=True
        )

    async def remove(
        self, names: Sequence[str], folders: Sequence[str] = ()
    ) -> Sequence[Removed | StorageError]:
        """Remove all of them in one thread call, with one fsync for each folder."""
        return await trio.to_thread.run_sync(
            remove, self._parts, names, folders, limiter=self.threads.lookers
        )

    def exclusive(self) -> AbstractAsyncContextManager[None]:
        """See `NodesLock`."""
        return super().exclusive() if self._lock is None else self._lock.hold()

    def use_ledger(self, lease: Permission, longest_name: int | None) -> None:
        """From now on, write only while this lease of the node is valid. See `StoreParts`."""
        self._parts.lease, self._parts.longest_name = lease, longest_name

    def reconfigure(self, settings: Storage) -> None:
        """Use `on_conflict` and `durability` of `settings`; the directory stays the same."""
        self._settings = settings

    def close(self) -> None:
        """Release the directory for another daemon."""
        self._suspended.close()
        self.threads.close()
        self._opened.close()

    def _walk(self, count: int) -> Generator[Sequence[str], None, None]:
        self._directory.check()
        yield from walk(self._directory.fd, count, shared=self._others is not None)

    def _make_ready(self) -> None:
        """Check that files can be stored below `location`, and restore the state directory."""
        self._directory.check()
        self._state.restore()

    def _sink(
        self,
        upload: str,
        path: str,
        on_conflict: OnConflict,
        durability: Durability,
        opened: Opened,
    ) -> LocalSink:
        file = self._parts.spool_file(upload, opened, durability)
        return LocalSink(self._parts, file, path, on_conflict)

    def _create(self, upload: str, path: str, on_conflict: OnConflict) -> Opened:
        self._make_ready()
        self._parts.check_length(path)
        with self._parts.folders.nearest(path.rpartition("/")[0]) as (folder, exists):
            check_target(self._spool, folder, path, on_conflict, exists=exists)
            return Opened(*create_file(self._spool, folder, upload))

    def _write_whole(self, files: Sequence[WholeFile]) -> Sequence[Written | StorageError]:
        try:
            self._make_ready()
        except StorageError as error:
            return [copy(error) for _ in files]
        return self._whole.write(files)

    def _reopen(
        self,
        upload: str,
        path: str,
        on_conflict: OnConflict,
        durability: Durability,
        suspended: Suspended | None,
    ) -> Opened:
        self._make_ready()
        if self._others is not None:
            suspended = self._others.claim(upload, suspended, durable=durability == "full")
        opened = reopen(self._spool, upload, suspended)
        unnamed = opened.unnamed
        try:
            with self._parts.folders.nearest(path.rpartition("/")[0]) as (folder, exists):
                check_target(self._spool, folder, path, on_conflict, exists=exists)
                if not fits(self._spool, folder, opened.fd, unnamed=unnamed, final=False):
                    # It will be copied to the filesystem of the folder, if that is possible.
                    os.close(create_unnamed(folder))
        except BaseException:
            if not unnamed:
                os.close(opened.fd)
            raise
        return opened

    def _drop(self, upload: str, suspended: Suspended | None) -> None:
        close_unnamed(upload, suspended)
        self._spool.remove(upload)
        if self._others is not None:
            self._others.remove(upload)

    def _check(self) -> None:
        self._make_ready()
        self._spool.probe()

    def _free(self) -> int:
        return self._space("").free

    def _space(self, path: str) -> Space:
        # The first step of an upload: if this fails, no quota and no single-use ticket is used up.
        self._make_ready()
        with self._parts.folders.nearest(path.rpartition("/")[0]) as (folder, _):
            return _space_of(folder)

    def _admit(self, path: str, on_conflict: OnConflict) -> Space:
        (result,) = self._admit_all([path], on_conflict)
        if isinstance(result, StorageError):
            raise result
        return result

    def _admit_all(
        self, paths: Sequence[str], on_conflict: OnConflict
    ) -> list[Space | StorageError]:
        results: list[Space | StorageError] = []
        try:
            self._make_ready()
        except StorageError as error:
            return [copy(error) for _ in paths]
        for path in paths:
            try:
                results.append(self._admit_one(path, on_conflict))
            except StorageError as error:
                results.append(error)
        return results

    def _admit_one(self, path: str, on_conflict: OnConflict) -> Space:
        self._parts.check_length(path)
        with self._parts.folders.nearest(path.rpartition("/")[0]) as (folder, exists):
            check_target(self._spool, folder, path, on_conflict, exists=exists)
            return _space_of(folder)


def _space_of(folder: Folder) -> Space:
    with translated("cannot get the free space"):
        status = os.fstatvfs(folder.fd)
        return Space(os.fstat(folder.fd).st_dev, status.f_bavail * status.f_frsize)
