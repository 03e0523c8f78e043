"""The bytes that the receiver has granted with `ready` signals and not received yet."""

from collections import deque


class CreditWindow:
    """The credits of one upload, oldest first. All sizes are bytes.

    A chunk may be smaller than the credit that it answers. The unused rest is the *carry*: the
    next chunk may exceed its own credit by that much. It lapses when no credit is outstanding.
    Outstanding credits and carry together never exceed the bytes still to come.

    The carry is for a sender with a fixed chunk size below the `chunksize` of the `ready` signals.
    Its last chunk may be larger than the last credit. The excess is at most the unused rest of the
    earlier credits. The carry never exceeds the largest credit. This limits `promised`,
    and thereby the memory needed.
    """

    def __init__(self, size: int) -> None:
        self.remaining = size
        self.largest = 0
        self._credits: deque[int] = deque()
        self._carry = 0

    @property
    def outstanding(self) -> int:
        """Number of `ready` signals that have not been answered."""
        return len(self._credits)

    @property
    def promised(self) -> int:
        """Bytes that the peer may send without another `ready`."""
        return sum(self._credits) + self._carry

    @property
    def limit(self) -> int:
        """Maximum size of the next chunk."""
        if not self._credits:
            return 0
        return min(self._credits[0] + self._carry, self.largest)

    def next_credit(self, chunk: int) -> int:
        """Size of the next credit if chunks of `chunk` bytes are wanted; 0 for no credit now.

        Only the last bytes of the file get a credit smaller than `chunk`, and only one such
        credit is outstanding at a time: a sender with a fixed chunk size could not use several.
        That credit is not granted while there is a carry, since the number of last bytes may still
        change.
        """
        if not self._credits:
            return min(chunk, self.remaining)
        free = self.remaining - self.promised
        if free >= chunk:
            return chunk
        return free if not self._carry and self._credits[-1] >= chunk else 0

    def grant(self, credit: int) -> None:
        """Add a credit that `next_credit` returned."""
        self._credits.append(credit)
        self.largest = max(self.largest, credit)

    def take(self, length: int) -> None:
        """A chunk of `length` bytes, at most `limit`, answers the oldest credit."""
        unused = self._carry + self._credits.popleft() - length
        self._carry = min(unused, self.largest) if self._credits else 0
        self.remaining -= length
