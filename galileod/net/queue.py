"""Received messages and parts, in order of arrival, until the upload takes them."""

from collections import deque
from typing import Final

from .messages import BinaryMessage, Message, MessagePart
from .wakeup import Wakeup

TEXTS: Final = 1
"""Maximum TEXT messages in the queue, until `allow_texts` sets another number."""

TEXT_CHARACTERS: Final = 256 * 1024
"""Maximum characters of all TEXT messages in the queue, if there are several."""

BINARIES: Final = 64
"""Maximum BINARY messages in the queue, plus one for each MIN_BINARY bytes in it. Each takes some
hundred bytes of memory, even if it is empty."""

MIN_BINARY: Final = 4096
"""Bytes of data for each BINARY message beyond BINARIES."""


class MessageQueue:
    """Holds all data that the peer may send, so that it is read while the storage is busy.

    Otherwise a Ping, a Close frame or the end of the connection would be noticed only when the
    data before it is stored. The bytes of data are limited by `DataBudget`: memory is reserved for
    all that was granted. The numbers of messages are limited here.

    One task adds, and one takes. `filled` wakes the one that takes, after an item was added, and at
    the end; `taken` wakes the other, after one was taken.
    """

    def __init__(self) -> None:
        self.filled = Wakeup()
        self.taken = Wakeup()
        self.ended = False
        """Whether no item will be added any more."""
        self._items: deque[Message] = deque()
        self._max_texts = TEXTS
        self._texts = self._characters = self._binaries = self._bytes = 0

    def allow_texts(self, count: int) -> None:
        """Let the queue hold `count` TEXT messages, as long as TEXT_CHARACTERS permits."""
        self._max_texts = count
        self.taken.wake()

    def put(self, item: Message) -> bool:
        """Add an item; returns False, and adds nothing, while there are too many of its kind."""
        match item:
            case BinaryMessage(pieces):
                if self._binaries >= BINARIES + self._bytes // MIN_BINARY:
                    return False
                self._binaries += 1
                self._bytes += sum(map(len, pieces))
            case str():
                characters = self._characters + len(item)
                if self._texts and (self._texts >= self._max_texts or characters > TEXT_CHARACTERS):
                    return False
                self._texts += 1
                self._characters = characters
            case MessagePart(pieces):
                self._bytes += sum(map(len, pieces))
        self._items.append(item)
        self.filled.wake()
        return True

    def end(self) -> None:
        """Add nothing more. What was added can still be taken."""
        self.ended = True
        self.filled.wake()

    def take(self) -> Message | None:
        """Remove the first item; None if there is none."""
        if not self._items:
            return None
        item = self._items.popleft()
        match item:
            case BinaryMessage(pieces):
                self._binaries -= 1
                self._bytes -= sum(map(len, pieces))
            case str():
                self._texts -= 1
                self._characters -= len(item)
            case MessagePart(pieces):
                self._bytes -= sum(map(len, pieces))
        self.taken.wake()
        return item

    def __bool__(self) -> bool:
        """Whether there is an item to take."""
        return bool(self._items)
