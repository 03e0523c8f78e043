"""Several uploads side by side, each tried again where that may help; one failure is one file's."""

import random
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from typing import Final, Protocol

import trio
from attrs import define, field

from galileod.client.errors import ConnectError, SendError, Signal, UpgradeError
from galileod.client.values import OnProgress, OnWarning, Progress, Receipt

from .jobs import Job
from .retry import RetryPolicy

OnStart = Callable[[], None]
"""Hears that what is to be sent is there."""

SendJob = Callable[[Job, OnStart, OnProgress, OnWarning], Awaitable[Receipt]]
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
        """The file is there, and an attempt to send it begins."""

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

    def dropped(self, job: Job, error: SendError, attempts: int) -> None:
        """It is given up because there is no server: another has failed by the same error."""


@define
class Batch:
    """How to work through many jobs: `parallel` at once, by `send`, under `policy`."""

    send: SendJob
    policy: RetryPolicy
    parallel: int
    reporter: Reporter
    _moves: int = field(init=False, default=0)
    _hopeless: SendError | None = field(init=False, default=None)

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
        before = self._moves
        for attempt in count(1):
            if self._hopeless:
                tally.failed += 1
                self.reporter.dropped(job, self._hopeless, attempt - 1)
                return
            try:
                receipt = await self._attempt(job, attempt)
            except SendError as error:
                wait = self.policy.wait(error, attempt, job.again(), random.random)
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
            self._moves += 1
            self.reporter.moved(job, progress.sent, progress.size)

        def on_start() -> None:
            self.reporter.started(job, attempt)

        return await self.send(job, on_start, on_progress, self._warner(job))

    def _give_up(self, job: Job, attempt: int, error: SendError, before: int) -> None:
        if error.transient and not job.again():
            error.args = (f"{error} It is not tried again: what was read cannot be read again.",)
        if self._hopeless:
            self.reporter.dropped(job, self._hopeless, attempt)
            return
        # One that was sent meanwhile shows that there is a server.
        if _is_the_servers(error) and (not error.transient or self._moves == before):
            self._hopeless = error
        self.reporter.failed(job, error, attempt)


def _is_the_servers(error: SendError) -> bool:
    """Whether other files would fail the same way: there is no server, or it lets nobody in."""
    busy = isinstance(error, UpgradeError) and error.transient
    return isinstance(error, ConnectError) and not busy
