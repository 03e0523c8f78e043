"""What a store remembers of suspended files, so that they go on without being read back."""

import os
from typing import Final

import structlog
from attrs import frozen
from structlog.typing import FilteringBoundLogger

from galileod.storage.errors import StorageError

from .hashing import RunningHash

MAX_UNNAMED: Final = 64
"""Maximum suspended files without a name. Each keeps a descriptor: they cannot be opened again."""

MAX_NAMED: Final = 10_000
"""Maximum suspended files in the spool that are remembered. Of others the hash is read back."""

_log: FilteringBoundLogger = structlog.get_logger()


@frozen
class Suspended:
    """A file of `offset` bytes, of which `durable` survive a power failure.

    It was written last at `modified`, in nanoseconds since the epoch. `running_hash` covers its
    first `position` bytes. A file without a name stays open as `fd`.
    """

    offset: int
    durable: int
    modified: int
    running_hash: RunningHash
    fd: int | None = None

    def is_of(self, state: os.stat_result) -> bool:
        """Whether a file in this state is as it was left."""
        return (state.st_size, state.st_mtime_ns) == (self.offset, self.modified)


class SuspendedFiles:
    """The suspended files of a store, by their uploads. For the event loop only."""

    def __init__(self) -> None:
        self._named: dict[str, Suspended] = {}
        self._unnamed: dict[str, Suspended] = {}

    def add(self, upload: str, file: Suspended) -> None:
        """Remember a file. Raises StorageError if it has no name, and there are too many such."""
        if file.fd is None:
            if len(self._named) >= MAX_NAMED:
                del self._named[next(iter(self._named))]
            self._named[upload] = file
        elif len(self._unnamed) >= MAX_UNNAMED:
            raise StorageError(
                f"cannot suspend the file: {MAX_UNNAMED} suspended files without a name are open"
            )
        else:
            self._unnamed[upload] = file

    def find(self, upload: str) -> Suspended | None:
        """What is remembered of the upload's file."""
        return self._named.get(upload) or self._unnamed.get(upload)

    def forget(self, upload: str) -> None:
        """Forget the file, which was continued or dropped. Its descriptor is the caller's."""
        self._named.pop(upload, None)
        self._unnamed.pop(upload, None)

    def close(self) -> None:
        """Close the files without a name, which are thereby removed. Blocks."""
        for upload, file in self._unnamed.items():
            close_unnamed(upload, file)
        self._unnamed.clear()


def close_unnamed(upload: str, file: Suspended | None) -> None:
    """Close the descriptor of a suspended file, if it has one. Blocks."""
    if file is None or file.fd is None:
        return
    try:
        os.close(file.fd)
    except OSError as error:
        # Linux frees the descriptor anyway, and the file is gone.
        _log.warning("storage.close_failed", path=upload, reason=str(error))
