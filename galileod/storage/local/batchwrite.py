"""Writes many complete files in one thread call, and syncs them beside each other.

Each file takes few system calls: after each of them, the thread may have to wait for the
interpreter's lock. What holds for a folder is found out once for all files that go there. A file
that cannot be renamed from the spool to its folder is written as the one of a sink.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, wait
from copy import copy

from attrs import define, field, frozen

from galileod.policy.publication import OnConflict
from galileod.storage.base import RUNNING_HASH
from galileod.storage.errors import StorageError
from galileod.storage.oserrors import translated
from galileod.storage.whole import WholeFile, Written

from .folders import Folder
from .identity import identity_of
from .modified import set_modified
from .parts import StoreParts
from .pending import PendingFile
from .reopening import Opened
from .spoolfile import close_file, write_all
from .target import (
    Destination,
    check_existing,
    check_name,
    check_new_folders,
    create_file,
)
from .threads import FSYNCS
from .timing import timed
from .writeback import start_writeback


@frozen(eq=False)
class LocalWritten(Written):
    """The closed file `upload` in the spool, to be published at `path`; or a `pending` file."""

    upload: str
    path: str
    on_conflict: OnConflict
    durable: bool
    pending: PendingFile | None = None

    def discard(self, parts: StoreParts) -> None:
        """Remove the file. Never raises StorageError."""
        if self.pending is not None:
            self.pending.discard()
        else:
            parts.give_up(self.upload)


@define(eq=False)
class _Created:
    """A file that is complete in the spool, number `at` of its batch.

    If it is to be synced, it is open as `fd`. `error` tells why it cannot be used.
    """

    at: int
    file: WholeFile
    identity: str
    fd: int | None
    error: StorageError | None = None


@define(eq=False)
class BatchWriter:
    """Writes one batch. Blocks."""

    _parts: StoreParts
    _results: dict[int, LocalWritten | StorageError] = field(init=False, factory=dict)
    _created: list[_Created] = field(init=False, factory=list)

    def write(self, files: Sequence[WholeFile]) -> list[LocalWritten | StorageError]:
        """See `Store.write_whole`; called once."""
        try:
            paths = {at: file.path for at, file in enumerate(files)}
            with self._parts.threads.in_turn():
                for folder, numbers in by_folder(paths).items():
                    self._write_to(folder, {at: files[at] for at in numbers})
            syncing = self._start_syncing()
            try:
                digests = [_digests(one.file) for one in self._created]  # while the disk is busy
            finally:
                wait(syncing)
            for one in syncing:
                one.result()
        except BaseException:
            for created in self._created:
                self._give_up(created)
            for result in self._results.values():
                if isinstance(result, LocalWritten):
                    result.discard(self._parts)
            raise
        for created, hashes in zip(self._created, digests, strict=True):
            if created.error is None:
                self._results[created.at] = self._written(created.file, hashes, created.identity)
            else:
                self._give_up(created)
                self._results[created.at] = created.error
        return [self._results[at] for at in range(len(files))]

    def _write_to(self, path: str, files: Mapping[int, WholeFile]) -> None:
        """Write the files of the folder `path`."""
        spool = self._parts.spool
        left = dict(files)
        try:
            with self._parts.folders.nearest(path) as (folder, exists):
                destination = Destination.of(spool, folder)
                if not exists:
                    check_new_folders(spool, f"{path}/", destination.status)
                for at, file in files.items():
                    try:
                        name = file.path.rpartition("/")[2]
                        self._parts.check_length(file.path)
                        check_name(spool, name, file.on_conflict, destination.status)
                        if exists:
                            check_existing(folder, name, file.on_conflict)
                        one = self._create(at, file, destination)
                        if one is not None:
                            self._created.append(one)
                        else:
                            self._results[at] = self._write_as_sink(folder, file)
                    except StorageError as error:
                        self._results[at] = error
                    del left[at]
        except StorageError as error:
            self._results.update((at, copy(error)) for at in left)

    def _create(self, at: int, file: WholeFile, destination: Destination) -> _Created | None:
        """Write a file in the spool. None if it cannot get there what its folder gives to files."""
        inherited, spool = destination.inherited, self._parts.spool
        if inherited is None:
            return None
        fd = spool.create(file.upload, inherited.first_mode)
        durable, usable = file.durability == "full", False
        try:
            for _ in write_all(fd, file.pieces, self._parts.timings.write):
                pass  # all of it
            if file.modified is not None:
                set_modified(fd, file.modified, inode_kept=spool.inode_kept)
            with translated("cannot set the permissions of the file"):
                state = os.fstat(fd)
                usable = inherited.give(fd, state)
            if usable and durable:
                start_writeback(fd, 0, state.st_size)
        finally:
            if not (usable and durable):
                close_file(fd, file.upload)
            if not usable:
                spool.remove(file.upload)
        if not usable:
            return None
        identity = identity_of(state, inode_kept=spool.inode_kept)
        return _Created(at, file, identity, fd if durable else None)

    def _write_as_sink(self, folder: Folder, file: WholeFile) -> LocalWritten:
        opened = Opened(*create_file(self._parts.spool, folder, file.upload))
        spool_file = self._parts.spool_file(file.upload, opened, file.durability)
        pending = PendingFile(self._parts, spool_file, file.path, file.on_conflict, file.modified)
        try:
            spool_file.append(file.pieces)
            pending.prepare(lambda: None)
            identity = spool_file.identity(inode_kept=self._parts.spool.inode_kept)
            return self._written(file, _digests(file), identity, pending)
        except BaseException:
            pending.discard()
            raise

    def _start_syncing(self) -> "list[Future[None]]":
        # One `syncfs` would cost less of the processor, and take as long. But it waits for the data
        # of all other files as well, reports its errors for none in particular, and since Linux 5.8
        # only.
        files = [one for one in self._created if one.fd is not None]
        shares = [files[first::FSYNCS] for first in range(min(FSYNCS, len(files)))]
        return [self._parts.threads.fsyncs.submit(self._sync, share) for share in shares]

    def _sync(self, files: Sequence[_Created]) -> None:
        """Sync and close each file; an error is kept in it."""
        observe = self._parts.timings.fsync_file
        for one in files:
            fd, one.fd = one.fd, None
            if fd is None:
                continue
            try:
                with translated("cannot make the file durable"), timed(observe):
                    os.fsync(fd)
            except StorageError as error:
                one.error = error  # the data is lost: it is not tried again
            close_file(fd, one.file.upload)

    def _written(
        self,
        file: WholeFile,
        digests: Mapping[str, str],
        identity: str,
        pending: PendingFile | None = None,
    ) -> LocalWritten:
        return LocalWritten(
            digests,
            identity,
            file.on_conflict == "replace",
            file.upload,
            file.path,
            file.on_conflict,
            file.durability == "full",
            pending,
            promised=self._parts.others is not None,
        )

    def _give_up(self, one: _Created) -> None:
        if one.fd is not None:
            close_file(one.fd, one.file.upload)
        self._parts.spool.remove(one.file.upload)


def by_folder(paths: Mapping[int, str]) -> Mapping[str, Sequence[int]]:
    """The numbers of the files with these paths, by the paths of their folders."""
    folders: dict[str, list[int]] = {}
    for at, path in paths.items():
        folders.setdefault(path.rpartition("/")[0], []).append(at)
    return folders


def _digests(file: WholeFile) -> Mapping[str, str]:
    digests = {}
    for kind in {RUNNING_HASH, *file.kinds}:
        digest = hashlib.new(kind, usedforsecurity=False)
        for piece in file.pieces:
            digest.update(piece)
        digests[kind] = digest.hexdigest()
    return digests
