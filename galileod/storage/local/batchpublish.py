"""Publishes many complete files in one thread call, with one fsync for each folder."""

import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import wait
from contextlib import ExitStack
from copy import copy

from attrs import define, field

from galileod.policy.publication import Durability
from galileod.storage.base import Stored
from galileod.storage.errors import StorageError
from galileod.storage.oserrors import translated

from . import publish
from .batchwrite import LocalWritten, by_folder
from .folders import TRIES, Folder, GoneError
from .parts import StoreParts
from .pending import PendingFile, published_path
from .reopening import reopen


@define(eq=False)
class _Group:
    """Files of a batch that have their names in one folder: the names, by the files' numbers.

    If one of them is to be `durable`, the folder is synced. `error` tells why they must not stay.
    """

    folder: Folder
    names: dict[int, str] = field(factory=dict)
    durable: bool = False
    error: StorageError | None = None

    def sync(self) -> None:
        """Make the names durable."""
        try:
            with translated("cannot make the file's name durable"):
                self.folder.sync()
        except StorageError as error:
            self.error = error


@define(eq=False)
class BatchPublisher:
    """Publishes one batch. Blocks."""

    _parts: StoreParts
    _files: Mapping[int, LocalWritten]
    _results: dict[int, Stored | StorageError] = field(init=False, factory=dict)

    def publish(self) -> Mapping[int, Stored | StorageError]:
        """See `Store.publish_whole`; called once. Returns the results by the files' numbers."""
        spooled = {}
        for at, one in self._files.items():
            if one.pending is None:
                spooled[at] = one.path
            else:
                self._results[at] = self._commit(one.pending)
        if spooled:
            self._publish_spooled(spooled)
        return self._results

    def _publish_spooled(self, paths: Mapping[int, str]) -> None:
        """Publish the files in the spool; those that cannot be published are removed."""
        groups = list[_Group]()
        with ExitStack() as opened:
            try:
                self._parts.directory.check()
            except StorageError as error:
                self._fail(paths, error)
            else:
                with self._parts.threads.in_turn():
                    for folder, numbers in by_folder(paths).items():
                        groups += self._give_names(opened, folder, numbers)
                self._settle(groups)
        named = {at for group in groups for at in group.names}
        for at in paths:
            if at not in named:
                self._parts.give_up(self._files[at].upload)

    def _give_names(
        self, opened: ExitStack, folder: str, numbers: Sequence[int]
    ) -> Sequence[_Group]:
        """Give the files their names in the folder, which stays open.

        If it is removed at the same time, the rest of the files are those of another group.
        """
        left, groups = list(numbers), list[_Group]()
        error: StorageError = GoneError("the folder is removed again and again")
        while left and len(groups) < TRIES:
            try:
                groups.append(_Group(opened.enter_context(self._parts.folders.open(folder))))
                self._fill(groups[-1], left)
            except GoneError:
                continue
            except StorageError as failure:
                error = failure
                break
        self._fail(left, error)
        return groups

    def _fill(self, group: _Group, left: list[int]) -> None:
        """Give the files their names in the folder; what is `left` has none. Raises GoneError."""
        while left:
            at = left[0]
            one = self._files[at]
            try:
                group.names[at] = self._give_name(group.folder, one)
                group.durable = group.durable or one.durable
            except GoneError:
                raise
            except publish.OtherFilesystemError:
                self._results[at] = self._publish_elsewhere(one)
            except StorageError as error:
                self._results[at] = error
            del left[0]

    def _give_name(self, folder: Folder, one: LocalWritten) -> str:
        spool, name = self._parts.spool, one.path.rpartition("/")[2]
        try:
            source = publish.Spooled(spool, one.upload)
            name = publish.publish(source, folder.fd, name, one.on_conflict)
        except StorageError:
            self._parts.check_spooled(one.upload)  # if the file is gone, that is the reason
            raise
        if not spool.renames and one.on_conflict != "replace":  # as was found out meanwhile
            spool.remove(one.upload)
        return name

    def _publish_elsewhere(self, one: LocalWritten) -> Stored | StorageError:
        """Something was mounted since the file was written: publish a copy there."""
        durability: Durability = "full" if one.durable else "none"
        try:
            opened = reopen(self._parts.spool, one.upload, None)
        except StorageError as error:
            return error
        file = self._parts.spool_file(one.upload, opened, durability)
        return self._commit(PendingFile(self._parts, file, one.path, one.on_conflict))

    def _commit(self, pending: PendingFile) -> Stored | StorageError:
        try:
            return pending.commit(lambda: None)
        except StorageError as error:
            pending.discard()
            return error

    def _settle(self, groups: list[_Group]) -> None:
        """Make the names durable, or withdraw them."""
        durable = [group for group in groups if group.durable]
        if len(durable) == 1:
            durable[0].sync()
        else:
            wait([self._parts.threads.fsyncs.submit(group.sync) for group in durable])
        moved: StorageError | None = None
        try:
            self._parts.directory.check()
        except StorageError as error:
            moved = error
        for group in groups:
            for at, name in group.names.items():
                one = self._files[at]
                failure = moved or (group.error if one.durable else None)
                if failure is not None:
                    publish.withdraw(group.folder.fd, name, one.on_conflict)
                    self._fail([at], failure)
                    continue
                self._parts.folders.keep(group.folder)
                path = published_path(self._parts, group.folder, name)
                full = os.path.join(self._parts.directory.path, path)
                self._results[at] = Stored(path, full, one.identity, group.folder.made)

    def _fail(self, numbers: Iterable[int], error: StorageError) -> None:
        """The error is that of each of the files, which may be raised by different tasks."""
        self._results.update((at, copy(error)) for at in numbers)
