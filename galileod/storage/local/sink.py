"""The sink of the local store: runs the steps of one file in threads, in order."""

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final

import trio

from galileod.policy.publication import OnConflict
from galileod.storage.base import CLEANUP_SECONDS, RUNNING_HASH, SUSPEND_SECONDS, Sink, Stored
from galileod.storage.errors import StorageError

from .parts import StoreParts
from .pending import PendingFile
from .spoolfile import SpoolFile
from .suspended import Suspended

WRITE_SLICE: Final = 1024 * 1024
"""Bytes that an upload writes in one thread call while others wait. The closer this is to the usual
chunk size, the more evenly uploads share a busy disk."""

PARALLEL: Final = max(1, len(os.sched_getaffinity(0)) // 2)
"""Uploads that are hashed in one thread while another writes them. It takes two cores for each."""


class _NotNowError(Exception):
    """The lease has run out before anything was written."""


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
    ) -> None:
        self.replaces = on_conflict == "replace"
        self.promised = parts.others is not None  # no start lists the files
        self._parts = parts
        self._file = file
        self._pending = PendingFile(parts, file, path, on_conflict)
        self._open = True
        self._reading = trio.Lock()

    @property
    def offset(self) -> int:
        """The bytes that stand in the file."""
        return self._file.offset

    @property
    def check(self) -> str | None:
        """The running hash, unless it is behind. Waits until the last part is hashed."""
        running = self._file.running_hash
        return running.hexdigest() if running.position == self.offset else None

    async def catch_up(self) -> None:
        """Read back step by step, each in a thread, so that it can be cancelled between them."""
        while self._file.behind:
            async with self._reading:
                self._check_open()
                await trio.to_thread.run_sync(
                    self._file.extend_hash, limiter=self._parts.threads.readers
                )

    async def checkpoint(self) -> int:
        """Call fdatasync for the file, and once fsync for the spool."""
        return await trio.to_thread.run_sync(
            self._file.checkpoint, limiter=self._parts.threads.syncers
        )

    async def suspend(self) -> int:
        """Checkpoint, and close the file; without a name, it is kept open by the store.

        Such a file (its folder is on another filesystem) is lost when the process ends; a node does
        not keep it, since only this process could continue it.
        """
        self._check_open()
        if self._pending.published:
            raise StorageError("cannot suspend the file: it was published")
        # After the deadline the thread is abandoned; `discard` closes the file when its fsync ends.
        with trio.CancelScope(shield=True, deadline=trio.current_time() + SUSPEND_SECONDS):
            async with self._reading:
                state = await trio.to_thread.run_sync(
                    self._suspend, abandon_on_cancel=True, limiter=self._parts.threads.syncers
                )
            self._parts.suspended.add(self._file.name, state)
            self._open = False
            return state.durable
        raise StorageError("cannot suspend the file: the disk does not respond")

    async def write(self, pieces: Sequence[bytes]) -> None:
        """Hash and write in one thread call, or in several if other uploads wait to write.

        A node writes only while its lease is valid, and raises what `Permission` raises.
        """
        self._check_open()
        writers = self._parts.threads.writers
        whole = writers.running < writers.most
        for part in [pieces] if whole else slices(pieces, WRITE_SLICE):
            # While others write, all cores are busy, and another thread would only cost more.
            beside = writers.running < PARALLEL
            await self._append(partial(self._file.append, part, hash_beside=beside))

    async def digest(self, kind: str) -> str:
        """Return the running hash; compute any other by reading the spool file back."""
        threads = self._parts.threads
        if kind == RUNNING_HASH:
            await self.catch_up()
            running = self._file.running_hash
            if running.pending:
                await threads.writers.run(running.wait)
            return running.hexdigest()
        return await trio.to_thread.run_sync(self._file.read_back, kind, limiter=threads.committers)

    @property
    def identity(self) -> str:
        """The inode number and the modification time, which the file keeps when published."""
        return self._file.identity(inode_kept=self._parts.spool.inode_kept)

    async def prepare(self) -> None:
        """Move the file to the filesystem of its folder, if necessary; permissions and fsync."""
        self._pending.modified = self.modified
        await trio.to_thread.run_sync(
            self._pending.prepare,
            trio.from_thread.check_cancelled,
            limiter=self._parts.threads.committers,
        )

    async def commit(self) -> Stored:
        """Publish, fsync of the directory; in that order, each once."""
        self._pending.modified = self.modified
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

    async def _append(self, append: Callable[[], None]) -> None:
        writers, lease = self._parts.threads.writers, self._parts.lease
        if lease is None:
            await writers.run(append)
            return

        def append_now() -> None:
            if not lease.is_valid():  # it may have waited long for the thread
                raise _NotNowError
            append()

        while True:
            try:
                await writers.run(append_now)
            except _NotNowError:
                await lease.wait_valid()
            else:
                return

    def _commit(self) -> Stored:
        stored = self._pending.commit(trio.from_thread.check_cancelled)
        self._open = False
        return stored

    def _check_open(self) -> None:
        if not self._open:
            raise StorageError("the file was suspended, stored or discarded")

    def _suspend(self) -> Suspended:
        file = self._file
        if file.unnamed and self._parts.others is not None:
            raise StorageError(
                "cannot keep the file: its folder is on another filesystem, where other nodes could"
                " not continue it"
            )
        file.running_hash.wait()
        durable, modified = file.checkpoint(), file.modified()
        fd = file.fd if file.unnamed else None
        if not file.unnamed:
            self._parts.check_spooled(file.name)
            file.close()
        return Suspended(file.offset, durable, modified, file.running_hash, fd)

    def _discard(self) -> None:
        self._open = False
        self._pending.discard()


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
