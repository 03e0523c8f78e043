"""Names that a file has for a moment in its folder.

It is an empty file that tries whether the folder accepts it, or a complete one that is about to
replace another file. After a crash it is removed at the next start: its upload was not confirmed.
"""

import os
import re
import time
from typing import Final

import structlog
from structlog.typing import FilteringBoundLogger

# No client can choose such a name: a dot at the start of a name is replaced (policy.names).
_PREFIX: Final = ".galileod-moving-"
_LEFTOVER: Final = re.compile(re.escape(_PREFIX) + "[0-9a-z]{1,32}")

OLD_SECONDS: Final = 3600.0
"""After so many seconds a file with such a name is removed although other nodes run. If one was
stopped for as long, its upload fails."""

_log: FilteringBoundLogger = structlog.get_logger()


def temporary_name(upload: str) -> str:
    """The name for the file of `upload`."""
    return _PREFIX + upload


def is_leftover(name: str) -> bool:
    """Whether `name` was made by `temporary_name`."""
    return _LEFTOVER.fullmatch(name) is not None


def remove_leftover(folder_fd: int, name: str) -> None:
    """Remove such a file from its folder. Blocks."""
    try:
        os.unlink(name, dir_fd=folder_fd)
    except OSError as error:
        # It is never counted as a file, and the next start tries again.
        _log.warning("storage.leftover", path=name, reason=str(error))


def remove_old(folder_fd: int, name: str) -> None:
    """Remove such a file if no node uses it any more: they do so for a moment. Blocks."""
    try:
        state = os.stat(name, dir_fd=folder_fd, follow_symlinks=False)
    except OSError:
        return  # it has its own name now
    if state.st_ctime < time.time() - OLD_SECONDS:
        remove_leftover(folder_fd, name)
