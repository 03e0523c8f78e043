"""A lock over all nodes with one directory: who has it replaces or removes files.

It is a lock of a file, so that it ends with the process that has it. One that was stopped keeps it:
the others fail then, each MOST_SECONDS after it has begun to wait.
"""

import fcntl
import math
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import trio

from galileod.storage.errors import StorageBusyError
from galileod.storage.oserrors import translated

from .statedir import StateDirectory

FILE: Final = "replacing"

POLL_SECONDS: Final = 0.01
"""Seconds between two attempts to lock the file."""

MOST_SECONDS: Final = 30.0
"""Maximum seconds of the wait for another node, also of those who wait behind one that waits. A
file is published and recorded in some milliseconds."""

_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


class NodesLock:
    """The lock in a state directory. For the event loop."""

    def __init__(self, state: StateDirectory) -> None:
        self._state = state
        self._here = trio.Lock()  # in this process: first come, first served
        self._held = -math.inf  # until when this process has had it
        self._limiter = trio.CapacityLimiter(1)

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[None]:
        """Hold the lock for the block. Raises StorageError, StorageBusyError if others have it."""
        began = trio.current_time()
        async with self._here:
            # While this process had it, nobody has waited for another node.
            fd = await self._acquire(max(began, self._held) + MOST_SECONDS)
            try:
                yield
            finally:
                with trio.CancelScope(shield=True):  # as an abandoned thread, it would be held
                    await trio.to_thread.run_sync(os.close, fd, limiter=self._limiter)
                self._held = trio.current_time()

    async def _acquire(self, end: float) -> int:
        while True:
            fd = await trio.to_thread.run_sync(self._try, limiter=self._limiter)
            if fd is not None:
                return fd
            if trio.current_time() >= end:
                raise StorageBusyError("another node is replacing or removing files")
            await trio.sleep(POLL_SECONDS)

    def _try(self) -> int | None:
        """The locked file, open; None if another node has it. Blocks; raises StorageError."""
        with translated("cannot lock the files for other nodes"):
            fd = os.open(FILE, _FLAGS, 0o600, dir_fd=self._state.fd)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Since it was opened, it may have been removed, and made anew by another node.
                there = os.stat(FILE, dir_fd=self._state.fd, follow_symlinks=False)
                if os.path.samestat(there, os.fstat(fd)):
                    return fd
            except (BlockingIOError, FileNotFoundError):
                pass
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)
            return None
