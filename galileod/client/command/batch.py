"""Runs uploads in parallel, with retries. A failure of one file does not affect the others."""

import random
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from typing import Final, Protocol

import trio
from attrs import define, field

from galileod.client.errors import ConnectError, SendError, Signal, UpgradeError
from galileod.client.options import OnProgress, OnWarning, Progress, Receipt

from .jobs import Job
from .retry import RetryPolicy

OnStart = Callable[[], None]
"""Called when the content was opened."""

SendJob = Callable[[Job, OnStart, OnProgress, OnWarning], Awaitable[Receipt]]
"""One attempt to send a job. Raises SendError."""

MAX_WARNINGS: Final = 100
"""Maximum warnings of one attempt that are reported."""


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


@define
class Batch:
    """Sends jobs: at most `parallel` at once, each with `send`, and retries them by `policy`."""

    send: SendJob
    policy: RetryPolicy
    parallel: int
    reporter: Reporter
    _progress_count: int = field(init=False, default=0)
    _server_error: SendError | None = field(init=False, default=None)

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
        before = self._progress_count
        for attempt in count(1):
            if self._server_error:
                tally.failed += 1
                self.reporter.dropped(job, self._server_error, attempt - 1)
                return
            try:
                receipt = await self._attempt(job, attempt)
            except SendError as error:
                wait = self.policy.wait(error, attempt, job.repeatable(), random.random)
                if wait is None:
                    self._give_up(job, attempt, error, before)
                    tally.failed += 1
                    return
                self.reporter.retrying(job, attempt, wait, error)
                await trio.sleep(wait)
            else:
                tally.stored += 1
                tally.size += receipt.size
                self.reporter.stored(job, receipt, attempt)
                return

    async def _attempt(self, job: Job, attempt: int) -> Receipt:
        def on_progress(progress: Progress) -> None:
            self._progress_count += 1
            self.reporter.moved(job, progress.sent, progress.size)

        def on_start() -> None:
            self.reporter.started(job, attempt)

        return await self.send(job, on_start, on_progress, self._warner(job))

    def _give_up(self, job: Job, attempt: int, error: SendError, before: int) -> None:
        if error.transient and not job.repeatable():
            error.args = (f"{error} There is no retry: the input cannot be read again.",)
        if self._server_error:
            self.reporter.dropped(job, self._server_error, attempt)
            return
        # If another file made progress during this one, the server works.
        if _concerns_server(error) and (not error.transient or self._progress_count == before):
            self._server_error = error
        self.reporter.failed(job, error, attempt)


def _concerns_server(error: SendError) -> bool:
    """Whether other files would fail in the same way: no connection, or no permission."""
    busy = isinstance(error, UpgradeError) and error.transient
    return isinstance(error, ConnectError) and not busy
