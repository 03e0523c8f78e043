"""What the files of a local store share."""

from attrs import frozen

from galileod.policy.publication import Durability

from .directory import Directory
from .filesync import FileSync
from .folders import Folders
from .hashing import RunningHash
from .reopening import Opened
from .spool import Spool
from .spoolfile import SpoolFile
from .suspended import SuspendedFiles
from .threads import Threads
from .timing import Timings


@frozen
class StoreParts:
    """What the files of a store share."""

    directory: Directory
    folders: Folders
    spool: Spool
    suspended: SuspendedFiles
    threads: Threads
    timings: Timings

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
