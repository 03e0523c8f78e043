"""Several uploads side by side, each tried again where that may help; one failure is one file's."""

import random
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from typing import Final, Protocol

import trio
from attrs import define, frozen

from .errors import SendError, Signal
from .jobs import Job
from .retry import RetryPolicy
from .values import OnProgress, OnWarning, Receipt

SendJob = Callable[[Job, OnProgress, OnWarning], Awaitable[Receipt]]
"""One attempt. Raises SendError."""


MAX_WARNINGS: Final = 100
"""Errors of one attempt, none fatal, that are told; a server may go on about it for ever."""


@define
class Tally:
    """How far a batch has come. `size` is the bytes that are stored."""

    total: int
    stored: int = 0
    failed: int = 0
    size: int = 0

    @property
    def left(self) -> int:
        """Files that were not come to, or were broken off."""
        return self.total - self.stored - self.failed


class Reporter(Protocol):
    """Hears what becomes of each job."""

    def started(self, job: Job, attempt: int) -> None:
        """An attempt begins."""

    def moved(self, job: Job, sent: int, size: int) -> None:
        """So many bytes of it were sent."""

    def warned(self, job: Job, sentence: str) -> None:
        """The server reported an error that is not fatal."""

    def retrying(self, job: Job, attempt: int, wait: float, error: SendError) -> None:
        """An attempt failed; the next begins in `wait` seconds."""

    def stored(self, job: Job, receipt: Receipt, attempts: int) -> None:
        """It is stored."""

    def failed(self, job: Job, error: SendError, attempts: int) -> None:
        """It is given up."""


@frozen
class Batch:
    """How to work through many jobs: `parallel` at once, by `send`, under `policy`."""

    send: SendJob
    policy: RetryPolicy
    parallel: int
    reporter: Reporter

    async def run(self, jobs: Sequence[Job], tally: Tally) -> None:
        """Do all of them; `tally` is right at any moment, also when this is cancelled."""
        waiting = iter(jobs)

        async def work() -> None:
            for job in waiting:
                await self._do(job, tally)

        async with trio.open_nursery() as nursery:
            for _ in range(min(self.parallel, len(jobs))):
                nursery.start_soon(work)

    def _warner(self, job: Job) -> OnWarning:
        told = count(1)

        def warn(signal: Signal) -> None:
            if next(told) <= MAX_WARNINGS:
                self.reporter.warned(job, str(signal.get("error")))

        return warn

    async def _do(self, job: Job, tally: Tally) -> None:
        attempt = 1
        while True:
            self.reporter.started(job, attempt)
            try:
                receipt = await self.send(
                    job,
                    lambda progress: self.reporter.moved(job, progress.sent, progress.size),
                    self._warner(job),
                )
            except SendError as error:
                wait = self.policy.wait(error, attempt, job.again, random.random)
                if wait is None:
                    tally.failed += 1
                    self.reporter.failed(job, error, attempt)
                    return
                self.reporter.retrying(job, attempt, wait, error)
                await trio.sleep(wait)
                attempt += 1
            else:
                tally.stored += 1
                tally.size += receipt.size
                self.reporter.stored(job, receipt, attempt)
                return
