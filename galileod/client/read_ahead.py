"""Reads and hashes a source while earlier bytes are sent."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Final, TypeVar

import trio

from galileod.protocol.messages import HashClaim

from .errors import DifferentError, SourceError
from .formatting import plural
from .hashing import FileHash
from .sources import Source, TouchedError
from .unmodified import begins_with

READ_SIZE: Final = 1024 * 1024
"""Bytes of one read. It is large, since the thread call for it costs about 50 µs."""

QUEUE_SIZE: Final = 1
"""Maximum blocks in the queue. With one being read and one being sent, three are in memory; while
earlier bytes are read to hash them, four."""


MAX_TOUCHED: Final = 5
"""Maximum times that a file may get another modification time during one attempt. Each time, what
was read of it is read and hashed again."""

T = TypeVar("T")


class ReadAhead:
    """The bytes of one source, in order. Made by `read_ahead`.

    `hash` is that of the first bytes of the source, and is kept from attempt to attempt: what was
    hashed once is not hashed again, and what lies before the offset of this attempt is read and
    hashed beside it.
    """

    def __init__(self, source: Source, file_hash: FileHash, nursery: trio.Nursery) -> None:
        self.offset: int | None = None
        self.all_read = trio.Event()  # and hashed
        self.hash = file_hash
        self._source = source
        self._nursery = nursery
        self._scope = trio.CancelScope()
        self._ended = trio.Event()
        self._catching_up = False
        self._touched = 0
        self._settling = trio.Lock()

    async def begin(self, offset: int, check: HashClaim | None = None) -> None:
        """Read from `offset` on. `check` is what the server says the bytes before it hash to.

        The task that reads raises SourceError if the source has not the declared size, and
        DifferentError if it is known that `check` is the hash of other bytes.
        """
        if self.offset is not None:
            self._scope.cancel()
            await self._ended.wait()
        self.offset = self._position = offset
        self.all_read, self._catching_up = trio.Event(), False
        self._rest = memoryview(b"")
        self._send, self._receive = trio.open_memory_channel[bytes | memoryview](QUEUE_SIZE)
        self._scope, self._ended = trio.CancelScope(), trio.Event()
        self._nursery.start_soon(self._run, offset, check)

    async def next(self, at_most: int) -> memoryview:
        """The next bytes: at least one, at most `at_most`."""
        if not self._rest:
            self._rest = memoryview(await self._receive.receive())
        part, self._rest = self._rest[:at_most], self._rest[at_most:]
        return part

    async def _run(self, offset: int, check: HashClaim | None) -> None:
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    if self.hash.lacks(offset):
                        self._catching_up = True
                        nursery.start_soon(self._catch_up, offset, check)
                    else:
                        self._compare(offset, check)
                    await self._read()
                self.all_read.set()
        finally:
            self._ended.set()

    async def _read(self) -> None:
        """Read from the offset to the end for `next`, and hash what follows on the hash."""
        source = self._source
        while self._position < source.size:
            at = self._position
            update = partial(self.hash.update, at)
            # `_catch_up` compares the hash at the offset: this must not take it further before.
            now = _hash_later if self._catching_up else update
            data = await self._settled(
                partial(source.read, at, min(READ_SIZE, source.size - at), now)
            )
            if not data:
                has, size = plural(at), source.size
                raise SourceError(f"{source.label} has {has}, not the {size} declared.")
            self._position += len(data)
            if self.hash.lacks(self._position) and not self._catching_up:
                # `_catch_up` has come to its end during this read.
                await trio.to_thread.run_sync(update, data)
            await self._send.send(data)
        if not await self._settled(source.at_end):
            declared = plural(source.size)
            raise SourceError(f"{source.label} has more than the {declared} declared.")

    async def _catch_up(self, offset: int, check: HashClaim | None) -> None:
        """Read and hash what lies before `offset`, and what `_read` has read meanwhile."""
        source = self._source
        while self.hash.lacks(self._position):
            at = self.hash.position
            end = offset if at < offset else self._position
            length = min(READ_SIZE, end - at)
            read = partial(source.read, at, length, partial(self.hash.update, at))
            if not await self._settled(read):
                raise SourceError(f"{source.label} has less than {plural(end)}.")
            self._compare(offset, check)
        self._catching_up = False

    async def _settled(self, read: Callable[[], Awaitable[T]]) -> T:
        """What `read` gives, also if the file was touched. Raises TouchedError if it differs."""
        while True:
            try:
                return await read()
            except TouchedError as touched:
                await self._settle(touched)

    async def _settle(self, touched: TouchedError) -> None:
        async with self._settling:
            before = self._source.seen
            if before == touched.now:
                return  # the other task has found out
            self._touched += 1
            if self._touched > MAX_TOUCHED:
                raise touched
            same = False
            self._source.seen = touched.now
            try:
                same = await begins_with(self._source, *self.hash.state())
            except TouchedError:
                return  # once more: the next read finds it
            finally:
                if not same:
                    self._source.seen = before
        if not same:
            raise touched

    def _compare(self, offset: int, check: HashClaim | None) -> None:
        if check and self.hash.position == offset and self.hash.differs(check.type, check.value):
            raise DifferentError(self._source.label, offset)


def _hash_later(_data: bytes | memoryview) -> None:
    """In place of the hash's `update`."""


@asynccontextmanager
async def read_ahead(source: Source, file_hash: FileHash) -> AsyncIterator[ReadAhead]:
    """Read `source` in a background task once `begin` is called, and hash it with `file_hash`."""
    async with trio.open_nursery() as nursery:
        yield ReadAhead(source, file_hash, nursery)
        nursery.cancel_scope.cancel()
