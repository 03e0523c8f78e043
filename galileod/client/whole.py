"""A small file that was sent in one go, and waits for its answer."""

from collections.abc import Sequence
from typing import Protocol

import trio
from attrs import define, field

from galileod.protocol.messages import Close, Error, HashClaim, Ready

from .errors import LostError, NonsenseError, RefusedError, SendError, Signal
from .options import Receipt
from .session import Session
from .upload import MAX_SIGNALS
from .work import Entry, Work


class Again(Protocol):
    """Sends entries again."""

    def send_again(self, entry: Entry, wait: float = 0.0) -> None:
        """Send an entry again after so many seconds."""

    def wake(self) -> None:
        """Look for something to do: something has changed."""


@define(eq=False)
class Whole:
    """A `Sending` for one file of `size` bytes."""

    work: Work
    lane: Again
    session: Session
    entry: Entry
    size: int
    claim: HashClaim | None
    began: float = field(factory=trio.current_time)
    signals: Sequence[Signal] = ()  # at most MAX_SIGNALS

    def heard(self, signal: Ready | Error) -> None:
        """Report a warning. A `ready` comes too late."""
        if isinstance(signal, Error):
            if len(self.signals) < MAX_SIGNALS:
                self.signals = (*self.signals, signal.details)
            self.entry.item.warned(signal.details)

    def answered(self, end: Close | Error, *, over: bool) -> None:
        """Report the result, or send the file again if it may be stored then."""
        del over
        if isinstance(end, Error):
            self.signals = (*self.signals, end.details)
            resumable = self.session.resumable and self.entry.key is not None
            refused = RefusedError(end.details, resumable=resumable, extended=True, kept=end.kept)
            self._failed(refused, self.entry.failures + 1)
            return
        hashes = {self.claim.type: self.claim.value} if self.claim else {}
        name = self.entry.item.name
        receipt = Receipt(
            name=name,
            stored_name=end.name or name,
            size=self.size,
            hashes=hashes,
            seconds=trio.current_time() - self.began,
            chunks=1 if self.size else 0,
            verified=bool(hashes),
            warnings=self.signals,
            path=end.path,
        )
        self.work.stored(self.entry, receipt)
        self.lane.wake()

    def lost(self, error: LostError | NonsenseError) -> None:
        """Send the file again, unless it could be stored twice."""
        if isinstance(error, LostError) and not self.session.resumable:
            error = LostError(str(error), uncertain=True)
        # A connection on which files got through is not counted.
        self._failed(error, 1 if self.session.got_on else self.entry.failures + 1)

    def _failed(self, error: SendError, failures: int) -> None:
        error.signals = self.signals
        self.entry.failures = failures
        wait = self.work.wait(error, failures, resumable=self.session.resumable)
        if wait is None or self.work.server_error:
            self.work.failed(self.entry, error)
        else:
            self.entry.item.retrying(self.entry.attempts, wait, error)
            self.lane.send_again(self.entry, wait)
        self.lane.wake()
