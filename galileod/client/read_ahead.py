"""Reads and hashes a source while earlier bytes are sent."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import trio

from .errors import SourceError
from .formatting import plural
from .hashing import FileHash
from .sources import Source

READ_SIZE: Final = 1024 * 1024
"""Bytes of one read. It is large, since the thread call for it costs about 50 µs."""

QUEUE_SIZE: Final = 1
"""Maximum blocks in the queue. With one being read and one being sent, three are in memory."""


class ReadAhead:
    """The bytes of one source, in order. Made by `read_ahead`."""

    def __init__(self, source: Source, kind: str | None) -> None:
        self.source = source
        self.all_read = trio.Event()
        self.hash = FileHash(kind)
        self._send, self._receive = trio.open_memory_channel[bytes | memoryview](QUEUE_SIZE)
        self._rest = memoryview(b"")

    async def read(self) -> None:
        """Read the whole source. Raises SourceError if its length is not the declared size."""
        source, left = self.source, self.source.size
        while left:
            data = await source.read(min(READ_SIZE, left), self.hash.update)
            if not data:
                has = plural(source.size - left)
                raise SourceError(f"{source.label} has {has}, not the {source.size} declared.")
            left -= len(data)
            await self._send.send(data)
        if not await source.at_end():
            declared = plural(source.size)
            raise SourceError(f"{source.label} has more than the {declared} declared.")
        self.all_read.set()

    async def next(self, at_most: int) -> memoryview:
        """The next bytes: at least one, at most `at_most`."""
        if not self._rest:
            self._rest = memoryview(await self._receive.receive())
        part, self._rest = self._rest[:at_most], self._rest[at_most:]
        return part


@asynccontextmanager
async def read_ahead(source: Source, kind: str | None) -> AsyncIterator[ReadAhead]:
    """Read `source` in a background task, and hash it with `kind` unless that is None."""
    ahead = ReadAhead(source, kind)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ahead.read)
        yield ahead
        nursery.cancel_scope.cancel()
