"""How many bytes of BINARY messages a peer may send."""


class DataBudget:
    """What a peer may send in BINARY messages, counted while their frames arrive.

    The owner sets it with `promise`. A message counts against it from the header of its first
    frame, and as undelivered until the owner has received the whole message.
    """

    def __init__(self) -> None:
        self.left = 0
        """Bytes that further frames may announce; below 0 if a promise was reduced too late."""
        self.largest = 0
        """Maximum size of one message in bytes."""
        self._undelivered = 0

    @property
    def promised(self) -> int:
        """Bytes that may still be delivered: undelivered ones and those that `left` allows."""
        return self.left + self._undelivered

    def promise(self, promised: int, largest: int) -> None:
        """Allow `promised` bytes, undelivered ones included, and `largest` in one message."""
        self.left = promised - self._undelivered
        self.largest = largest

    def begin(self, length: int) -> None:
        """A frame announces `length` bytes."""
        self.left -= length
        self._undelivered += length

    def delivered(self, length: int) -> None:
        """The owner has received a message of `length` bytes."""
        self._undelivered -= length
