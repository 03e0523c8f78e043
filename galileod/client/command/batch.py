"""Sends jobs. A failure of one file does not affect the others."""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, Protocol

import trio
from attrs import define, field, frozen

from galileod.client.address import Address
from galileod.client.asking import Asker, SkipExisting
from galileod.client.errors import NotAskedError, RefusedError, SendError, Signal
from galileod.client.formatting import format_duration
from galileod.client.lane import send_all
from galileod.client.options import Options, Progress, Receipt
from galileod.client.retry import RetryPolicy
from galileod.client.session import Session
from galileod.client.sources import Source
from galileod.client.state_directory import State
from galileod.client.work import Item, Work
from galileod.printable import printable
from galileod.protocol.messages import AskEntry

from .jobs import Job

OpenJob = Callable[[Job], AbstractAsyncContextManager[Source]]
"""Opens the content of a job. Raises SendError."""

MAX_WARNINGS: Final = 100
"""Maximum warnings about one file that are reported."""

ALREADY_THERE: Final = "already there"
"""Why a file is not sent that the server has."""

GO_ON: Final = "Run the same command again to go on."
"""What continues an upload that the server keeps, if no other file is sent twice then."""

GO_ON_OF_MANY: Final = "Run the same command again with the files that are not stored to go on."
"""The same if there were others: the same command would send again those that are stored."""


@define
class Tally:
    """The counts of a batch. `size` is the number of bytes stored.

    `unconfirmed` are the files that were sent whole, and have no answer yet: they may be stored.
    `held` are those that the server had already, `replaced` those that were stored or there, and
    replaced by another one of the same run. `listed` are those that would be sent in a `dry_run`,
    `size` is then that of them.
    """

    total: int
    stored: int = 0
    failed: int = 0
    size: int = 0
    unconfirmed: int = 0
    held: int = 0
    replaced: int = 0
    listed: int = 0
    dry_run: bool = False

    @property
    def left(self) -> int:
        """Files that were not started, or were interrupted before their end."""
        ended = self.stored + self.failed + self.held + self.replaced + self.listed
        return self.total - ended - self.unconfirmed


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

    def held(self, job: Job) -> None:
        """The server has the file already; it is not sent."""

    def replaced(self, job: Job, by: Job, path: str) -> None:
        """The stored file is gone: `by` was stored at the same path of the server."""

    def listed(self, job: Job) -> None:
        """The file would be sent, if this were no dry run."""

    def notice(self, sentence: str) -> None:
        """A remark about no file in particular."""


@frozen
class Kept:
    """Of an upload that did not end, the server keeps `sent` of `size` bytes for `seconds`."""

    sent: int
    size: int
    seconds: int


@define
class Batch:
    """Sends jobs on at most `parallel` connections.

    With `skip`, the server is asked first which files it has. `kept` are the jobs that were
    interrupted by a cancellation, and can be resumed.
    """

    address: Address
    options: Options
    policy: RetryPolicy
    state: State
    open: OpenJob
    parallel: int
    reporter: Reporter
    skip: SkipExisting | None = None
    kept: list[Kept] = field(init=False, factory=list)  # at most those that are sent at once
    there: dict[str, list[tuple[Job, int | None]]] = field(init=False, factory=dict)
    """The jobs that are at the server, by the path that it has told, with the size if it was sent.

    That is None for those that were there before. Of these only, several can be at one path.
    """

    async def run(self, jobs: Sequence[Job], tally: Tally) -> None:
        """Send all jobs. `tally` is correct at any time, also after a cancellation.

        In a dry run, list those that would be sent. Raises NotAskedError.
        """
        items: Iterable[_JobItem] = (_JobItem(self, job, tally) for job in jobs)
        if not self.skip:
            await self._send(items, len(jobs), tally)
            return
        items, error = list(items), None
        async with trio.open_nursery() as nursery:
            asker = Asker(self.address, self.options, self.policy, nursery, self._ask_again)
            try:
                left = await asker.left(items, self.skip)
            except SendError as raised:
                error = raised
            else:
                if tally.dry_run:
                    await asker.close()
                await self._send(left, len(left), tally, asker.release())
        if isinstance(error, NotAskedError):
            raise error
        if error:
            for number, item in enumerate(item for item in items if item not in asker.held):
                item.failed(error, dropped=number > 0)

    async def _send(
        self,
        items: Iterable["_JobItem"],
        count: int,
        tally: Tally,
        session: Session | None = None,
    ) -> None:
        if tally.dry_run:
            for item in items:
                await item.list()
            return
        work = Work(items, self.address, self.options, self.policy, self.state)
        await send_all(work, max(1, min(self.parallel, count)), session)

    def _ask_again(self, wait: float, error: SendError) -> None:
        again = f"The server is asked again in {format_duration(wait)}."
        self.reporter.notice(f"{printable(str(error))} {again}")


def how_to_go_on(files: int, skip: SkipExisting | None) -> str:
    """The sentence for a command with so many files; with `skip`, none is sent twice."""
    return GO_ON if files == 1 or skip else GO_ON_OF_MANY


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

    @property
    def question(self) -> AskEntry | None:
        return self._job.question

    def held(self, path: str | None) -> None:
        self._tally.held += 1
        self._reporter.held(self._job)
        if path is not None:
            self._batch.there.setdefault(path, []).append((self._job, None))

    async def list(self) -> None:
        """Tell that the file would be sent, if it can be read."""
        if self.path is not None:
            try:
                async with self._batch.open(self._job):
                    pass
            except SendError as error:
                self.failed(error, dropped=False)
                return
        self._tally.listed += 1
        self._tally.size += self._job.size or 0
        self._reporter.listed(self._job)

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
        if receipt.path is not None:
            self._replaces(receipt.path, receipt.size)

    def _replaces(self, path: str, size: int) -> None:
        """Tell which earlier files were at the same path."""
        earlier = self._batch.there.pop(path, [])
        self._batch.there[path] = [(self._job, size)]
        for job, replaced_size in earlier:
            self._tally.replaced += 1
            if replaced_size is None:
                self._tally.held -= 1
            else:
                self._tally.stored -= 1
                self._tally.size -= replaced_size
            self._reporter.replaced(job, self._job, path)

    def failed(self, error: SendError, *, dropped: bool) -> None:
        self._is_unconfirmed(False)
        self._tally.failed += 1
        if dropped:
            self._reporter.dropped(self._job, error, self._attempts)
            return
        if error.kept and self._kept:
            error.args = (f"{error} {how_to_go_on(self._tally.total, self._batch.skip)}",)
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
