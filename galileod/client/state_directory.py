"""The directory for what one process remembers of its uploads for the next."""

import os
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from attrs import define, field

from galileod.printable import printable

MAX_AGE: Final = 7 * 24 * 3600
"""Seconds after which an entry is removed."""

MAX_ENTRIES: Final = 1000
"""Maximum entries; of more, the oldest are removed."""


@define
class State:
    """The directory `$XDG_STATE_HOME/galileo-send`, of this user alone.

    `on_notice` is called with a sentence, as once if it cannot be used. Uploads go on without it.
    """

    on_notice: Callable[[str], object] = lambda _: None
    _failed: bool = field(init=False, default=False)
    _tidied: bool = field(init=False, default=False)

    @property
    def path(self) -> str:
        """The path of the directory."""
        base = os.environ.get("XDG_STATE_HOME", "")
        if not os.path.isabs(base):  # which the XDG specification says to ignore
            base = os.path.expanduser("~/.local/state")
        return os.path.join(base, "galileo-send")

    def make(self) -> None:
        """Make the directory if it is missing, and remove old entries. Raises OSError."""
        os.makedirs(self.path, mode=0o700, exist_ok=True)
        self.check()
        if not self._tidied:
            self._tidied = True
            _tidy(self.path, time.time())

    def check(self) -> None:
        """Raise OSError unless the directory exists and is this user's."""
        status = os.lstat(self.path)
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
            raise PermissionError(0, "it is not a directory of this user")
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise PermissionError(0, "other users can write to it")

    def fail(self, error: OSError) -> None:
        """Report that the directory cannot be used."""
        if not self._failed:
            self._failed = True
            self.on_notice(
                f"what is begun cannot be remembered in {printable(self.path)}: "
                f"{error.strerror or error}."
            )


def _tidy(path: str, now: float) -> None:
    """Remove entries that are too old, or too many. Raises OSError."""
    with os.scandir(path) as entries:
        found = sorted(
            (entry.stat(follow_symlinks=False).st_mtime, entry.path) for entry in entries
        )
    old = [entry for time_, entry in found if now - time_ > MAX_AGE]
    surplus = [entry for _, entry in found[: max(0, len(found) - MAX_ENTRIES + 1)]]
    for entry in {*old, *surplus}:
        with suppress(FileNotFoundError):  # another process has removed it
            os.unlink(entry)
