"""The bytes of a file in order, read and hashed ahead of the sending."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import trio

from . import texts
from .errors import SourceError
from .hashing import FileHash
from .sources import Source

PIECE: Final = 1024 * 1024
"""Bytes that are read at once: enough to be worth a hop to a thread."""

AHEAD: Final = 1
"""Pieces that wait, while one is being read and one is being sent: three at the most."""


class Pieces:
    """One file, to be taken from its beginning to its end. Made by `read_ahead`."""

    def __init__(self, source: Source, kind: str | None) -> None:
        self.source = source
        self.all_read = trio.Event()
        self.hash = FileHash(kind)
        self._into, self._pieces = trio.open_memory_channel[bytes | memoryview](AHEAD)
        self._rest = memoryview(b"")

    async def read(self) -> None:
        """Read all of it. Raises SourceError if it is not as long as it was to be."""
        source, left = self.source, self.source.size
        while left:
            data = await source.read(min(PIECE, left), self.hash.note)
            if not data:
                had = texts.count(source.size - left)
                raise SourceError(f"{source.label} had {had}, and not {source.size} as declared.")
            left -= len(data)
            await self._into.send(data)
        if not await source.at_end():
            declared = texts.count(source.size)
            raise SourceError(f"{source.label} has more than the {declared} that were declared.")
        self.all_read.set()

    async def next(self, at_most: int) -> memoryview:
        """The next bytes; at least one, at most `at_most`."""
        if not self._rest:
            self._rest = memoryview(await self._pieces.receive())
        part, self._rest = self._rest[:at_most], self._rest[at_most:]
        return part


@asynccontextmanager
async def read_ahead(source: Source, kind: str | None) -> AsyncIterator[Pieces]:
    """Read `source` in the background, and hash it (`kind` None: not)."""
    pieces = Pieces(source, kind)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pieces.read)
        yield pieces
        nursery.cancel_scope.cancel()
