"""What the files of a local store share."""

from attrs import define

from galileod.policy.publication import Durability
from galileod.storage.errors import StorageBusyError, StorageError
from galileod.storage.permission import Permission

from .directory import Directory
from .filesync import FileSync
from .folders import Folders
from .hashing import RunningHash
from .reopening import Opened
from .spool import Spool
from .spoolfile import SpoolFile
from .spools import OtherSpools
from .suspended import SuspendedFiles
from .target import check_length
from .threads import Threads
from .timing import Timings


@define(eq=False)
class StoreParts:
    """What the files of a store share.

    With `others`, it is that of a node, and `lease` tells whether it may write. `longest_name` is
    that of its ledger.
    """

    directory: Directory
    folders: Folders
    spool: Spool
    suspended: SuspendedFiles
    threads: Threads
    timings: Timings
    others: OtherSpools | None = None
    lease: Permission | None = None
    longest_name: int | None = None

    def spool_file(self, upload: str, opened: Opened, durability: Durability) -> SpoolFile:
        """The file of an upload, which was opened."""
        durable, known = durability == "full", opened.known
        file_sync = FileSync(
            self.spool.sync,
            self.timings.fsync_file,
            enabled=durable,
            durable=known.durable if known else 0,
        )
        return SpoolFile(
            upload,
            opened.fd,
            opened.unnamed,
            durable,
            known.running_hash if known else RunningHash(self.threads.hashers),
            file_sync,
            self.timings.write,
            opened.offset,
        )

    def check_length(self, path: str) -> None:
        """Check that a file at `path` can be opened, and recorded. Raises BadNameError."""
        check_length(self.directory.path, path, self.longest_name)

    def check_spooled(self, upload: str) -> None:
        """Raise StorageError if the file of an upload is not in the spool.

        It is StorageBusyError if another node may have taken it: this one has no lease.
        """
        try:
            self.spool.check(upload)
        except StorageError as error:
            if self.lease is None or self.lease.is_valid():
                raise
            reason = "another node has taken over the uploads of this one"
            raise StorageBusyError(reason) from error

    def give_up(self, upload: str) -> None:
        """Remove the file of an upload from the spool, unless another node may continue it."""
        if self.lease is None or self.lease.state() != "lost":
            self.spool.remove(upload)
