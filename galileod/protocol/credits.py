"""What the receiver has promised to take: `ready` signals that are out, as bytes."""

from collections import deque


class CreditWindow:
    """The credits of one upload, in the order in which they were granted.

    Three numbers add up to no more than the bytes still to come: the outstanding credits, what
    chunks smaller than their credit left over (`carry`), and what is still free to be granted.

    The carry is why a sender with a chunk size of its own, below the one we name, is served at
    the end of a file: its last chunk may be larger than the last credit, and no larger than what
    earlier credits left unused. It is held to one chunk, so that `promised` is a memory bound.
    """

    def __init__(self, size: int) -> None:
        self.remaining = size
        self._credits: deque[int] = deque()
        self._carry = 0
        self._largest = 0

    @property
    def outstanding(self) -> int:
        """How many `ready` signals have not been answered."""
        return len(self._credits)

    @property
    def promised(self) -> int:
        """How many bytes the peer may send without asking again."""
        return sum(self._credits) + self._carry

    @property
    def limit(self) -> int:
        """The most bytes that the next chunk may hold."""
        if not self._credits:
            return 0
        return min(self._credits[0] + self._carry, self._largest)

    def next_credit(self, chunk: int) -> int:
        """The size of the credit to grant next where chunks of `chunk` bytes are wanted, or 0.

        A credit smaller than that is only for the end of the file, and there is one of them at
        most: a row of small credits would be too small for a sender with its own chunk size. Where
        there is a carry the end has not come: it may free bytes again.
        """
        if not self._credits:
            return min(chunk, self.remaining)
        free = self.remaining - self.promised
        if free >= chunk:
            return chunk
        return free if not self._carry and self._credits[-1] >= chunk else 0

    def grant(self, credit: int) -> None:
        """Add a credit that `next_credit` gave."""
        if not self._credits:
            self._carry = 0
        self._credits.append(credit)
        self._largest = max(self._largest, credit)

    def take(self, length: int) -> None:
        """A chunk of `length` bytes, no more than `limit`, answers the oldest credit."""
        left = self._carry + self._credits.popleft() - length
        self._carry = min(left, self._largest)
        self.remaining -= length
