"""How many folders a user may have created: beside those for many files, only some in an hour.

Folders take up inodes, and no quota counts them. A tree has seldom more folders than files.
"""

from typing import Final

from galileod.protocol.errors import Fault, FaultCode

MAX_NEW: Final = 10_000
"""Maximum folders that are created for a user in an hour, beyond one for each file."""

HOUR: Final = 3600.0

MAX_USERS: Final = 10_000
"""Maximum users of whom this is remembered; then the one who was first is forgotten."""


class NewFolders:
    """Counts the folders that were created for each user. Times are in seconds."""

    def __init__(self) -> None:
        self._counts: dict[str, tuple[float, float]] = {}  # and when that was

    def count(self, user: str, made: int, now: float) -> None:
        """`made` folders were created for a file of the user, which was stored."""
        beyond = max(0.0, self._beyond(user, now) + made - 1)
        self._counts.pop(user, None)
        if beyond:
            if len(self._counts) >= MAX_USERS:
                del self._counts[next(iter(self._counts))]
            self._counts[user] = beyond, now

    def check(self, user: str, now: float) -> None:
        """Raise a `bad_name` Fault if no more folders are to be created for the user."""
        if self._beyond(user, now) >= MAX_NEW:
            raise Fault(
                FaultCode.BAD_NAME,
                f"The files of this hour have {MAX_NEW} more new folders than there are files."
                " Try again later, or without folders.",
                limit=MAX_NEW,
            )

    def _beyond(self, user: str, now: float) -> float:
        count, then = self._counts.get(user, (0.0, now))
        return max(0.0, count - (now - then) * MAX_NEW / HOUR)
