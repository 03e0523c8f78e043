"""The limit on the bytes of BINARY messages that a peer may send."""


class DataBudget:
    """Counts the bytes of BINARY messages against a limit, as their frame headers arrive.

    The receiver of the messages sets the limit with `promise` and `permit`. The bytes of a frame
    count as soon as its header is parsed, and are undelivered until the receiver has the whole
    message.
    """

    def __init__(self) -> None:
        self.left = 0
        """Bytes that further frames may announce; negative if the limit was reduced below what
        frames had already announced."""
        self.largest = 0
        """Maximum size of one message in bytes."""
        self._undelivered = 0
        self._promised = (0, 0)
        self._permitted = (0, 0)

    @property
    def promised(self) -> int:
        """Bytes that may still be delivered: the undelivered ones, and `left`."""
        return self.left + self._undelivered

    @property
    def promise_left(self) -> int:
        """What `promise` was last called with: of these bytes, some may still arrive."""
        return self._promised[0]

    def promise(self, promised: int, largest: int) -> None:
        """Set the limits: `promised` bytes may still be delivered, `largest` in one message.

        `promised` includes the undelivered bytes.
        """
        self._promised = promised, largest
        self._sum()

    def permit(self, room: int, largest: int) -> None:
        """Set the limits for whole files, which are sent without a promise: they are added."""
        self._permitted = room, largest
        self._sum()

    def begin(self, length: int) -> None:
        """A frame announces `length` bytes."""
        self.left -= length
        self._undelivered += length

    def delivered(self, length: int) -> None:
        """The receiver has taken a message of `length` bytes."""
        self._undelivered -= length

    def _sum(self) -> None:
        (promised, largest), (room, whole) = self._promised, self._permitted
        self.left = promised + room - self._undelivered
        self.largest = max(largest, whole)
