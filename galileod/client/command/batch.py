"""Runs uploads in parallel. A failure of one file does not affect the others."""

from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from typing import Final, Protocol

import trio
from attrs import define, field, frozen

from galileod.client.errors import ConnectError, SendError, Signal, UpgradeError
from galileod.client.options import OnWarning, Progress, Receipt
from galileod.client.transfer import Watcher

from .jobs import Job

SendJob = Callable[[Job, Watcher, OnWarning], Awaitable[Receipt]]
"""Sends a job, in as many attempts as it takes. Raises SendError."""

MAX_WARNINGS: Final = 100
"""Maximum warnings about one file that are reported."""

GO_ON: Final = "Run the same command again to go on."
"""What continues an upload that the server keeps."""


@define
class Tally:
    """The counts of a batch. `size` is the number of bytes stored."""

    total: int
    stored: int = 0
    failed: int = 0
    size: int = 0

    @property
    def left(self) -> int:
        """Files that were not started, or were interrupted."""
        return self.total - self.stored - self.failed


class Reporter(Protocol):
    """Called as the jobs proceed."""

    def started(self, job: Job, attempt: int) -> None:
        """The content was opened; an attempt begins."""

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
    """Sends jobs: at most `parallel` at once, each with `send`.

    `kept` are those that were interrupted by a cancellation, and can be resumed.
    """

    send: SendJob
    parallel: int
    reporter: Reporter
    kept: list[Kept] = field(init=False, factory=list)  # at most `parallel`
    progress_count: int = field(init=False, default=0)
    server_error: SendError | None = field(init=False, default=None)

    async def run(self, jobs: Sequence[Job], tally: Tally) -> None:
        """Send all jobs. `tally` is correct at any time, also after a cancellation."""
        waiting = iter(jobs)

        async def work() -> None:
            for job in waiting:
                await self._do(job, tally)

        async with trio.open_nursery() as nursery:
            for _ in range(min(self.parallel, len(jobs))):
                nursery.start_soon(work)

    def _warner(self, job: Job) -> OnWarning:
        number = count(1)

        def warn(signal: Signal) -> None:
            if next(number) <= MAX_WARNINGS:
                self.reporter.warned(job, str(signal.get("error")))

        return warn

    async def _do(self, job: Job, tally: Tally) -> None:
        before = self.progress_count
        watcher = _JobWatcher(self, job)
        if self.server_error:
            tally.failed += 1
            self.reporter.dropped(job, self.server_error, 0)
            return
        try:
            receipt = await self.send(job, watcher, self._warner(job))
        except SendError as error:
            tally.failed += 1
            self._failed(watcher, error, before)
        except BaseException:
            if watcher.kept:
                self.kept.append(watcher.kept)
            raise
        else:
            tally.stored += 1
            tally.size += receipt.size
            self.reporter.stored(job, receipt, watcher.attempts)

    def _failed(self, watcher: "_JobWatcher", error: SendError, before: int) -> None:
        if self.server_error:
            self.reporter.dropped(watcher.job, self.server_error, watcher.attempts)
            return
        # If another file made progress during this one, the server works.
        if _concerns_server(error) and (not error.transient or self.progress_count == before):
            self.server_error = error
        if error.kept and watcher.kept:
            error.args = (f"{error} {GO_ON}",)
        self.reporter.failed(watcher.job, error, max(1, watcher.attempts))


class _JobWatcher(Watcher):
    """Passes on to the reporter what happens to a job."""

    def __init__(self, batch: Batch, job: Job) -> None:
        self.job = job
        self.attempts = 0
        self.kept: Kept | None = None
        self._batch = batch
        self._keep = 0

    def started(self, attempt: int) -> None:
        if self._batch.server_error:
            raise self._batch.server_error
        self.attempts = attempt
        self._batch.reporter.started(self.job, attempt)

    def resumable(self, offset: int, size: int, keep: int) -> None:
        self._keep = keep
        self._keeps(offset, size)
        if offset:
            self._batch.reporter.resumed(self.job, offset, size)

    def moved(self, progress: Progress) -> None:
        self._batch.progress_count += 1
        self._keeps(progress.sent, progress.size)
        self._batch.reporter.moved(self.job, progress.sent, progress.size)

    def retrying(self, attempt: int, wait: float, error: SendError) -> None:
        self._batch.reporter.retrying(self.job, attempt, wait, error)

    def _keeps(self, sent: int, size: int) -> None:
        if self._keep and sent:
            self.kept = Kept(sent, size, self._keep)


def _concerns_server(error: SendError) -> bool:
    """Whether other files would fail in the same way: no connection, or no permission."""
    busy = isinstance(error, UpgradeError) and error.transient
    return isinstance(error, ConnectError) and not busy
