"""The sink of the local store: runs the steps of one file in threads, in order."""

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
from .directory import Directory
from .folders import Folders
from .spool import Spool
from .spoolfile import SpoolFile
from .threads import Threads

WRITE_SLICE: Final = 1024 * 1024
"""Bytes that an upload writes in one thread call while others wait. The closer this is to the usual
chunk size, the more evenly uploads share a busy disk."""


@frozen
class StoreParts:
    """What the sinks of a store share: its directory, folders, spool and threads."""

    directory: Directory
    folders: Folders
    spool: Spool
    threads: Threads


class LocalSink(Sink):
    """The spool file `file`, to be published at `path`.

    Its blocking parts run in threads, one at a time.
    """

    def __init__(
        self,
        parts: StoreParts,
        file: SpoolFile,
        path: str,
        on_conflict: OnConflict,
        *,
        durable: bool,
    ) -> None:
        self.replaces = on_conflict == "replace"
        self._parts = parts
        self._folder, _, self._name = path.rpartition("/")
        self._file = file
        self._on_conflict = on_conflict
        self._durable = durable
        self._open = True

    async def write(self, pieces: Sequence[bytes]) -> None:
        """Hash and write in one thread call, or in several if other uploads wait to write."""
        writers = self._parts.threads.writers
        for part in [pieces] if writers.available_tokens else slices(pieces, WRITE_SLICE):
            await trio.to_thread.run_sync(self._file.append, part, limiter=writers)

    async def digest(self, kind: str) -> str:
        """Return the running hash; compute any other by reading the spool file back."""
        threads = self._parts.threads
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
        return await trio.to_thread.run_sync(self._commit, limiter=self._parts.threads.committers)

    async def discard(self) -> None:
        """Close and unlink the spool file."""
        if not self._open:
            return
        # A separate limiter, so that this never waits for other uploads if the disk hangs. After
        # the deadline the thread is abandoned, but still finishes.
        with trio.CancelScope(shield=True, deadline=trio.current_time() + CLEANUP_SECONDS):
            await trio.to_thread.run_sync(
                self._discard, abandon_on_cancel=True, limiter=trio.CapacityLimiter(1)
            )

    def _commit(self) -> Stored:
        parts = self._parts
        self._file.finish()
        parts.directory.check()
        parts.spool.check(self._file.name)
        with parts.folders.open(self._folder) as folder:
            name = publish.publish(
                parts.spool.fd, self._file.name, folder.fd, self._name, self._on_conflict
            )
            try:
                if self._durable:
                    with translated("cannot make the file's name durable"):
                        folder.sync()
                parts.directory.check()
            except StorageError:
                publish.withdraw(folder.fd, name, self._on_conflict)
                raise
        self._discard()
        path = f"{self._folder}/{name}" if self._folder else name
        return Stored(path, os.path.join(parts.directory.path, path))

    def _discard(self) -> None:
        self._open = False
        self._parts.spool.remove(self._file.name)
        self._file.close()


def slices(pieces: Sequence[bytes], most: int) -> Iterator[list[bytes]]:
    """Split the pieces, in order, into lists of at most `most` bytes; a larger piece is alone."""
    part, length = list[bytes](), 0
    for piece in pieces:
        if part and length + len(piece) > most:
            yield part
            part, length = [], 0
        part.append(piece)
        length += len(piece)
    if part:
        yield part
