"""Sends jobs. A failure of one file does not affect the others."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, Protocol

from attrs import define, field, frozen

from galileod.client.address import Address
from galileod.client.errors import RefusedError, SendError, Signal
from galileod.client.lane import send_all
from galileod.client.options import Options, Progress, Receipt
from galileod.client.retry import RetryPolicy
from galileod.client.sources import Source
from galileod.client.state_directory import State
from galileod.client.work import Item, Work

from .jobs import Job

OpenJob = Callable[[Job], AbstractAsyncContextManager[Source]]
"""Opens the content of a job. Raises SendError."""

MAX_WARNINGS: Final = 100
"""Maximum warnings about one file that are reported."""

GO_ON: Final = "Run the same command again to go on."
"""What continues an upload that the server keeps, if it was the only file."""

GO_ON_OF_MANY: Final = "Run the same command again with the files that are not stored to go on."
"""The same if there were others: the same command would send again those that are stored."""


@define
class Tally:
    """The counts of a batch. `size` is the number of bytes stored.

    `unconfirmed` are the files that were sent whole, and have no answer yet: they may be stored.
    """

    total: int
    stored: int = 0
    failed: int = 0
    size: int = 0
    unconfirmed: int = 0

    @property
    def left(self) -> int:
        """Files that were not started, or were interrupted before their end."""
        return self.total - self.stored - self.failed - self.unconfirmed


class Reporter(Protocol):
    """Called as the jobs proceed."""

    def started(self, job: Job, attempt: int, *, whole: bool = False) -> None:
        """The content was opened; an attempt begins. `whole`: the file is sent in one go."""

    def resumed(self, job: Job, offset: int, size: int) -> None:
        """The server has the first `offset` of `size` bytes; what follows is sent."""

    def moved(self, job: Job, sent: int, size: int) -> None:
        """`sent` of `size` bytes were sent."""

    def warned(self, job: Job, sentence: str) -> None:
        """The server reported an error that is not fatal."""

    def retrying(self, job: Job, attempt: int, wait: float, error: SendError) -> None:
        """An attempt failed; the next begins in `wait` seconds."""

    def stored(self, job: Job, receipt: Receipt, attempts: int) -> None:
        """The file is stored."""

    def failed(self, job: Job, error: SendError, attempts: int) -> None:
        """The file was not stored; there is no further attempt."""

    def dropped(self, job: Job, error: SendError, attempts: int) -> None:
        """The file was not sent: another file failed with an error that concerns the server."""


@frozen
class Kept:
    """Of an upload that did not end, the server keeps `sent` of `size` bytes for `seconds`."""

    sent: int
    size: int
    seconds: int


@define
class Batch:
    """Sends jobs on at most `parallel` connections.

    `kept` are those that were interrupted by a cancellation, and can be resumed.
    """

    address: Address
    options: Options
    policy: RetryPolicy
    state: State
    open: OpenJob
    parallel: int
    reporter: Reporter
    kept: list[Kept] = field(init=False, factory=list)  # at most those that are sent at once

    async def run(self, jobs: Sequence[Job], tally: Tally) -> None:
        """Send all jobs. `tally` is correct at any time, also after a cancellation."""
        items = (_JobItem(self, job, tally) for job in jobs)
        work = Work(items, self.address, self.options, self.policy, self.state)
        await send_all(work, max(1, min(self.parallel, len(jobs))))


def how_to_go_on(files: int) -> str:
    """The sentence for a command with so many files."""
    return GO_ON if files == 1 else GO_ON_OF_MANY


class _JobItem(Item):
    """A job on its way: what happens to it is passed on to the reporter."""

    def __init__(self, batch: Batch, job: Job, tally: Tally) -> None:
        self.name = job.name
        self.folder = job.folder
        self.path = job.path
        self.size = job.size
        self._job = job
        self._attempts = 0
        self._batch = batch
        self._reporter = batch.reporter
        self._tally = tally
        self._keep = 0
        self._kept: Kept | None = None
        self._warnings = 0
        self._unconfirmed = False

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Source]:
        async with self._batch.open(self._job) as source:
            try:
                yield source
            except SendError as error:
                if error.transient and not source.repeatable:
                    sentence = f"{error} There is no retry: the input cannot be read again."
                    error.args = (sentence,)
                raise

    def started(self, attempt: int) -> None:
        self._attempts = attempt
        self._is_unconfirmed(False)
        self._reporter.started(self._job, attempt, whole=False)

    def started_whole(self, attempt: int) -> None:
        self._attempts = attempt
        self._is_unconfirmed(True)
        self._reporter.started(self._job, attempt, whole=True)

    def resumable(self, offset: int, size: int, keep: int) -> None:
        self._keep = keep
        self._keeps(offset, size)
        if offset:
            self._reporter.resumed(self._job, offset, size)

    def moved(self, progress: Progress) -> None:
        self._keeps(progress.sent, progress.size)
        self._is_unconfirmed(progress.sent == progress.size)
        self._reporter.moved(self._job, progress.sent, progress.size)

    def retrying(self, attempt: int, wait: float, error: SendError) -> None:
        if isinstance(error, RefusedError):
            self._is_unconfirmed(False)
        self._reporter.retrying(self._job, attempt, wait, error)

    def warned(self, signal: Signal) -> None:
        self._warnings += 1
        if self._warnings <= MAX_WARNINGS:
            self._reporter.warned(self._job, str(signal.get("error")))

    def stored(self, receipt: Receipt) -> None:
        self._is_unconfirmed(False)
        self._tally.stored += 1
        self._tally.size += receipt.size
        self._reporter.stored(self._job, receipt, self._attempts)

    def failed(self, error: SendError, *, dropped: bool) -> None:
        self._is_unconfirmed(False)
        self._tally.failed += 1
        if dropped:
            self._reporter.dropped(self._job, error, self._attempts)
            return
        if error.kept and self._kept:
            error.args = (f"{error} {how_to_go_on(self._tally.total)}",)
        self._reporter.failed(self._job, error, max(1, self._attempts))

    def interrupted(self) -> None:
        if self._kept:
            self._batch.kept.append(self._kept)

    def _is_unconfirmed(self, now: bool) -> None:
        self._tally.unconfirmed += now - self._unconfirmed
        self._unconfirmed = now

    def _keeps(self, sent: int, size: int) -> None:
        if self._keep and sent:
            self._kept = Kept(sent, size, self._keep)
