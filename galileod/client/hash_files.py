"""Hashes many files, in threads."""

import hashlib
from collections.abc import Generator, Iterator, Sequence
from typing import Final

import trio

from .errors import SourceError
from .sources import open_path

READ_SIZE: Final = 1024 * 1024
"""Bytes of one read."""

STEP: Final = 32 * READ_SIZE
"""Bytes that one thread call reads, about 0.1 s: it cannot be cancelled."""


async def sha1_of_files(paths: Sequence[str]) -> list[str | None]:
    """The SHA-1 of each regular file, in hex; None for what cannot be read."""
    found: list[str | None] = []
    steps = _hashed(paths, found)
    try:
        while await trio.to_thread.run_sync(_advance, steps):
            pass
    finally:
        steps.close()  # and the file that is open
    return found


def _advance(steps: Iterator[int]) -> bool:
    """Go on for about STEP bytes; returns whether there is more."""
    left = STEP
    for length in steps:
        left -= length
        if left <= 0:
            return True
    return False


def _hashed(paths: Sequence[str], found: list[str | None]) -> Generator[int]:
    """Add the hash of each file to `found`; yields the bytes of each read."""
    for path in paths:
        digest = hashlib.sha1(usedforsecurity=False)
        try:
            with open_path(path)[0].file as file:
                while data := file.read(READ_SIZE):
                    digest.update(data)
                    yield len(data)
        except (OSError, SourceError):
            found.append(None)  # sending it shows why
        else:
            found.append(digest.hexdigest())
