"""When each token was last used: collected in memory, and kept in a file.

The file is the daemon's own, in its state directory. The tokens file cannot have these times: the
daemon needs no permission to change it, and older versions accept no further keys in it.
"""

import json
import os
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Final

import trio
from attrs import define, field

from galileod.secretfile import SecretFileError, read_secret_file

SAVE_SECONDS: Final = 60.0
"""Minimum seconds between two writes of the file."""

Uses = Mapping[str, datetime]
"""The time of the last use of tokens, by id."""


@define(eq=False)
class TokenUses:
    """The uses that are not in the file yet."""

    _unsaved: dict[str, datetime] = field(init=False, factory=dict)
    _noted: trio.Event = field(init=False, factory=trio.Event)

    def note(self, token: str, now: datetime) -> None:
        """The token with this id was used."""
        self._unsaved[token] = now
        self._noted.set()

    async def wait(self) -> None:
        """Return as soon as there is a use that `take` has not returned."""
        await self._noted.wait()

    def take(self) -> Uses:
        """The uses since the last call."""
        taken, self._unsaved, self._noted = self._unsaved, {}, trio.Event()
        return taken

    def put_back(self, uses: Uses) -> None:
        """These could not be saved: the next `take` returns them again, or later ones."""
        for token, time in uses.items():
            self._unsaved.setdefault(token, time)
        self._noted.set()


def load_uses(path: str) -> Uses:
    """The uses in the file; none if it does not exist. Raises SecretFileError."""
    if not os.path.lexists(path):
        return {}
    data = read_secret_file(path)
    try:
        rows: dict[str, str] = json.loads(data)
        return {token: datetime.fromisoformat(time).astimezone(UTC) for token, time in rows.items()}
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        raise SecretFileError(f"{path}: is damaged") from None


def save_uses(path: str, uses: Uses, known: Collection[str]) -> None:
    """Add `uses` to the file, and remove what is not about a token in `known`. Blocks.

    The file is replaced as a whole. It is not synced: a power failure may take the latest times, or
    all of them. Raises OSError.
    """
    try:
        earlier = load_uses(path)
    except SecretFileError:
        earlier = {}
    times = {token: time for token, time in {**earlier, **uses}.items() if token in known}
    rows = {token: time.isoformat(timespec="seconds") for token, time in times.items()}
    new = f"{path}.new"
    with open(new, "w", encoding="ascii", opener=_private) as file:
        json.dump(rows, file, indent=0)
    os.replace(new, path)


def _private(path: str, flags: int) -> int:
    # O_NONBLOCK: opening a FIFO must not wait for a reader.
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
