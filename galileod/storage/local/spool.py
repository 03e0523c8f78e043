"""The spool: the directory of files that are not published yet."""

import os
from collections.abc import Callable
from typing import Final

import structlog
from structlog.typing import FilteringBoundLogger

from galileod.storage.base import translated

_NEW_FILE: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

_log: FilteringBoundLogger = structlog.get_logger()


class Spool:
    """The spool directory, open as `fd`. All methods block."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def create(self, name: str) -> int:
        """Create a private file; returns its descriptor. Raises StorageError."""
        with translated("cannot create a spool file"):
            return os.open(name, _NEW_FILE, 0o600, dir_fd=self.fd)

    def remove(self, name: str) -> None:
        """Remove a file, if it is still here."""
        try:
            os.unlink(name, dir_fd=self.fd)
        except FileNotFoundError:
            pass  # with `on_conflict = "replace"` the file was renamed, not linked
        except OSError as error:
            # The upload is stored or has failed; the next start removes the spool file.
            _log.warning("storage.leftover", path=name, reason=str(error))

    def clear(self, step: Callable[[], None]) -> int:
        """Remove all files, and call `step` before each; returns their number. Raises OSError."""
        names = os.listdir(self.fd)
        for name in names:
            step()
            os.unlink(name, dir_fd=self.fd)
        return len(names)

    def probe(self) -> None:
        """Create a file and link it, as an upload does. Raises StorageError if that fails."""
        name = f"probe-{os.urandom(8).hex()}"
        linked = f"{name}-linked"
        with translated("cannot create and link files in the spool"):
            os.close(self.create(name))
            try:
                os.link(name, linked, src_dir_fd=self.fd, dst_dir_fd=self.fd)
                os.unlink(linked, dir_fd=self.fd)
            finally:
                os.unlink(name, dir_fd=self.fd)
