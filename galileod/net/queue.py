"""Received messages and parts, in order of arrival, until the upload takes them."""

import math
from typing import Final

import trio

from .frames import BinaryMessage, MessagePart

TEXTS: Final = 1
"""Maximum TEXT messages in the queue."""

BINARIES: Final = 64
"""Maximum BINARY messages in the queue, plus one for each MIN_BINARY bytes in it. Each takes some
hundred bytes of memory, even if it is empty."""

MIN_BINARY: Final = 4096
"""Bytes of data for each BINARY message beyond BINARIES."""

Message = str | BinaryMessage | MessagePart
"""A received item: a TEXT message, the end of a BINARY message, or an earlier part of one."""


class MessageQueue:
    """Holds all data that the peer may send, so that it is read while the storage is busy.

    Otherwise a Ping, a Close frame or the end of the connection would be noticed only when the
    data before it is stored. The bytes of data are limited by `DataBudget`: memory is reserved for
    all that was granted. The numbers of messages are limited here. None marks the end.
    """

    def __init__(self) -> None:
        self._send, self._receive = trio.open_memory_channel[Message | None](math.inf)
        self._turn = trio.Lock()
        self._taken = trio.Event()
        self._texts = self._binaries = self._bytes = 0

    async def put(self, item: Message) -> None:
        """Add an item; wait while there are too many of its kind."""
        if self._turn.locked() or self._is_full(item):
            async with self._turn:  # keeps the order if both callers wait
                while self._is_full(item):
                    self._taken = trio.Event()
                    await self._taken.wait()
                self._count(item, 1)
                self._send.send_nowait(item)
        else:
            self._count(item, 1)
            await self._send.send(item)

    def end(self) -> None:
        """Add the mark of the end, behind all items that were added."""
        self._send.send_nowait(None)

    async def take(self) -> Message | None:
        """Remove the first item; wait for one if there is none."""
        item = await self._receive.receive()
        self._count(item, -1)
        self._taken.set()
        return item

    def take_nowait(self) -> Message | None:
        """Remove the first item; None if there is none, or the mark of the end is the first."""
        try:
            item = self._receive.receive_nowait()
        except trio.WouldBlock:
            return None
        if item is None:
            self.end()
            return None
        self._count(item, -1)
        self._taken.set()
        return item

    def _is_full(self, item: Message | None) -> bool:
        match item:
            case str():
                return self._texts >= TEXTS
            case BinaryMessage():
                return self._binaries >= BINARIES + self._bytes // MIN_BINARY
        return False

    def _count(self, item: Message | None, sign: int) -> None:
        match item:
            case str():
                self._texts += sign
            case BinaryMessage(pieces):
                self._binaries += sign
                self._bytes += sign * sum(map(len, pieces))
            case MessagePart(pieces):
                self._bytes += sign * sum(map(len, pieces))
