"""One file on its way into the local store: which thread does what, and in which order."""

import os
from collections.abc import Iterator, Sequence
from typing import Final

import trio
from attrs import frozen

from galileod.storage.base import (
    CLEANUP_SECONDS,
    RUNNING_HASH,
    Sink,
    StorageError,
    Stored,
    translated,
)
from galileod.storage.settings import OnConflict

from . import publish
from .folders import Folders
from .spool import Spool
from .spoolfile import SpoolFile
from .threads import Threads

TURN: Final = 1024 * 1024
"""Bytes that an upload writes while others wait to write. The closer to the usual chunk, the more
evenly uploads share a busy disk."""


@frozen
class Place:
    """What the sinks of a store share: its location, folders, spool and threads."""

    location: str
    folders: Folders
    spool: Spool
    threads: Threads


class LocalSink(Sink):
    """The spool file `file`, to be published at `path`.

    Its blocking parts run in threads, one at a time.
    """

    def __init__(
        self,
        place: Place,
        file: SpoolFile,
        path: str,
        on_conflict: OnConflict,
        *,
        durable: bool,
    ) -> None:
        self.replaces = on_conflict == "replace"
        self._place = place
        self._folder, _, self._name = path.rpartition("/")
        self._file = file
        self._on_conflict = on_conflict
        self._durable = durable
        self._open = True

    async def write(self, pieces: Sequence[bytes]) -> None:
        """Hash and write in one thread hop, or in several if other uploads wait to write."""
        writers = self._place.threads.writers
        for turn in [pieces] if writers.available_tokens else turns(pieces, TURN):
            await trio.to_thread.run_sync(self._file.append, turn, limiter=writers)

    async def digest(self, kind: str) -> str:
        """The running hash at once; any other by reading the spool file back."""
        threads = self._place.threads
        if kind == RUNNING_HASH:
            running = self._file.running_hash
            if running.behind:
                await trio.to_thread.run_sync(running.catch_up, limiter=threads.writers)
            return running.hexdigest()
        return await trio.to_thread.run_sync(self._file.read_back, kind, limiter=threads.committers)

    @property
    def identity(self) -> str:
        """The inode number, which the file keeps when it is published."""
        return str(self._file.inode)

    async def commit(self) -> Stored:
        """fsync, publish, fsync of the directory; in that order, each once."""
        return await trio.to_thread.run_sync(self._commit, limiter=self._place.threads.committers)

    async def discard(self) -> None:
        """Close and unlink the spool file."""
        if not self._open:
            return
        # A limiter of its own, so that it never waits for other uploads while the disk hangs; a
        # thread that is abandoned still finishes.
        with trio.CancelScope(shield=True, deadline=trio.current_time() + CLEANUP_SECONDS):
            await trio.to_thread.run_sync(
                self._discard, abandon_on_cancel=True, limiter=trio.CapacityLimiter(1)
            )

    def _commit(self) -> Stored:
        place = self._place
        self._file.finish()
        with place.folders.open(self._folder) as folder:
            name = publish.publish(
                place.spool.fd, self._file.name, folder.fd, self._name, self._on_conflict
            )
            try:
                if self._durable:
                    with translated("cannot make the file's name durable"):
                        folder.sync()
            except StorageError:
                publish.withdraw(folder.fd, name, self._on_conflict)
                raise
        self._discard()
        path = f"{self._folder}/{name}" if self._folder else name
        return Stored(path, os.path.join(place.location, path))

    def _discard(self) -> None:
        self._open = False
        self._place.spool.remove(self._file.name)
        self._file.close()


def turns(pieces: Sequence[bytes], most: int) -> Iterator[list[bytes]]:
    """Split the pieces, in order, into lists of at most `most` bytes; a larger piece is alone."""
    turn, length = list[bytes](), 0
    for piece in pieces:
        if turn and length + len(piece) > most:
            yield turn
            turn, length = [], 0
        turn.append(piece)
        length += len(piece)
    if turn:
        yield turn
