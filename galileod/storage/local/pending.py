"""A file that is not published yet: its preparation, its publication, and its removal."""

import os
from collections.abc import Callable

import structlog
from attrs import define, field
from structlog.typing import FilteringBoundLogger

from galileod.policy.publication import OnConflict
from galileod.storage.base import Stored
from galileod.storage.errors import StorageError
from galileod.storage.oserrors import translated

from . import publish
from .diskname import name_on_disk
from .folders import TRIES, Folder, GoneError
from .inheritance import complete
from .modified import set_modified
from .parts import StoreParts
from .spoolfile import SpoolFile
from .target import create_unnamed, fits

_log: FilteringBoundLogger = structlog.get_logger()


@define(eq=False)
class PendingFile:
    """The spool file `file`, to be published at `path`. All methods block.

    `published` tells whether it has its name; it may still be withdrawn if `commit` then fails.
    `modified` is as for a Sink.
    """

    _parts: StoreParts
    file: SpoolFile
    path: str
    on_conflict: OnConflict
    modified: int | None = None
    published: bool = field(init=False, default=False)
    _prepared: bool = field(init=False, default=False)
    _identity: str = field(init=False, default="")

    def prepare(self, checkpoint: Callable[[], None]) -> None:
        """Move the file to the filesystem of its folder, if necessary; permissions and fsync.

        `checkpoint` is called now and then while the file is copied, and may raise. Raises
        StorageError.
        """
        # A folder that does not exist yet will inherit everything from the one above it.
        with self._parts.folders.nearest(self.path.rpartition("/")[0]) as (folder, _):
            with translated("cannot set the permissions of the file"):
                # Usually it is where it belongs; but since it was created, something may have been
                # mounted, or the folder may have got another group or ACL.
                file = self.file
                if not fits(self._parts.spool, folder, file.fd, unnamed=file.unnamed, final=True):
                    self._move(folder, checkpoint)
            self._finish()
        self._prepared = True

    def commit(self, checkpoint: Callable[[], None]) -> Stored:
        """Prepare the file if it is not; publish it, fsync of the directory; in that order.

        Raises StorageError.
        """
        if not self._prepared:
            self.prepare(checkpoint)
        parts = self._parts
        parts.directory.check()
        if not self.file.unnamed:
            parts.check_spooled(self.file.name)
        stored, tries = None, TRIES
        while stored is None:
            tries -= 1
            with parts.folders.open(self.path.rpartition("/")[0]) as folder:
                try:
                    name = self._publish(folder)
                except GoneError:
                    if not self.file.unnamed:
                        parts.check_spooled(self.file.name)  # if it is gone, that is the reason
                    if not tries:
                        raise
                else:
                    stored = self._settle(folder, name)
        self.discard()
        return stored

    def discard(self) -> None:
        """Close the file, and remove it from the spool. Never raises StorageError."""
        if not self.file.unnamed:
            self._parts.give_up(self.file.name)
        self.file.close()

    def _move(self, folder: Folder, checkpoint: Callable[[], None]) -> None:
        """Continue with a copy that was created in `folder`, without a name."""
        named = not self.file.unnamed
        self.file.move(create_unnamed(folder), checkpoint)
        if named:
            self._parts.spool.remove(self.file.name)
        complete(self.file.fd, folder.fd)

    def _finish(self) -> None:
        """Give the file its time, and make it durable. Its identity is final then."""
        if self.modified is not None:
            # One that was created elsewhere than in the spool may have the inode number of another.
            kept = self._parts.spool.inode_kept and not self.file.unnamed
            set_modified(self.file.fd, self.modified, inode_kept=kept)
        self.file.sync()
        self._identity = self.file.identity(inode_kept=self._parts.spool.inode_kept)

    def _settle(self, folder: Folder, name: str) -> Stored:
        """Make the name durable, or withdraw it."""
        parts = self._parts
        try:
            if self.file.durable:
                with translated("cannot make the file's name durable"):
                    folder.sync()
            parts.directory.check()
        except StorageError:
            publish.withdraw(folder.fd, name, self.on_conflict)
            raise
        parts.folders.keep(folder)
        path = published_path(parts, folder, name)
        full = os.path.join(parts.directory.path, path)
        return Stored(path, full, self._identity, folder.made)

    def _publish(self, folder: Folder) -> str:
        try:
            return self._publish_once(folder)
        except publish.OtherFilesystemError:
            # Something was mounted since `prepare`. The identity that the ledger may have recorded
            # is then not that of the copy; that matters only if there is a crash as well.
            with translated("cannot set the permissions of the file"):
                self._move(folder, lambda: None)
            self._finish()
            return self._publish_once(folder)

    def _publish_once(self, folder: Folder) -> str:
        spool, file = self._parts.spool, self.file
        if file.unnamed:
            source: publish.Source = publish.Unnamed(file.fd, file.name)
        else:
            source = publish.Spooled(spool, file.name)
        name = publish.publish(source, folder.fd, self.path.rpartition("/")[2], self.on_conflict)
        self.published = True
        if self.on_conflict == "replace" or spool.renames or not spool.counts_links:
            file.unnamed = True  # it has no name in the spool
        return name


def published_path(parts: StoreParts, folder: Folder, name: str) -> str:
    """The path of a file that was published in the folder as `name`, as the storage lists it."""
    if parts.spool.maps_names:
        try:
            name = name_on_disk(folder.fd, name)
        except OSError as error:
            # The file is stored; until the next start the ledger has another name for it.
            _log.warning("storage.name_unknown", path=name, reason=str(error))
    return f"{folder.path}/{name}" if folder.path else name
