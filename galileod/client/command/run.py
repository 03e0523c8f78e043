"""One run of the command: jobs, uploads side by side, a report, an exit status."""

import ipaddress
import os
import signal
import stat
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Final, NoReturn

import trio
from attrs import evolve, frozen

from galileod.client import texts
from galileod.client.address import Address, Proxy
from galileod.client.opening import open_source
from galileod.client.upload import upload
from galileod.client.values import OnProgress, OnWarning, Options, Receipt

from .batch import Batch, OnStart, Tally
from .jobs import Job, Passed, collect, doubled
from .objects import JsonReporter
from .output import is_terminal, standard
from .people import PeopleReporter, Verbosity, summary
from .retry import RetryPolicy
from .stdin import LABEL, stdin_job

SHOWN: Final = 3
"""Names that stand for all that occur twice."""

SHOW_CURSOR: Final = "\x1b[?25h"


@frozen
class Plan:
    """What the command line asked for."""

    address: Address
    proxy: Proxy | None
    files: Sequence[str]
    name: str | None
    size: int | None
    recursive: bool
    options: Options
    policy: RetryPolicy
    parallel: int
    verbosity: Verbosity
    as_json: bool
    token_file: str | None


FullReporter = PeopleReporter | JsonReporter


def run(plan: Plan) -> int:
    """Send all of it; gives the exit status."""
    paths = [path for path in plan.files if path != LABEL]
    found = collect(paths, plan.name, recursive=plan.recursive)
    if LABEL in plan.files:
        found.insert(0, stdin_job(plan.name, plan.size))
    jobs = [entry for entry in found if isinstance(entry, Job)]
    lost: list[str] = []
    with _reporter(plan, jobs, lost) as reporter:
        for entry in found:
            if isinstance(entry, Passed):
                reporter.passed(entry.label, entry.why)
        _remarks(plan, jobs, reporter)
        tally, began = Tally(len(jobs)), time.monotonic()
        stopped = trio.run(_work, plan, jobs, tally, reporter)
    seconds = time.monotonic() - began
    reporter.ended(tally, seconds, interrupted=bool(stopped))
    if lost and (plan.as_json or tally.total == 1):
        # What was to tell it did not arrive; of several files there is a summary already.
        standard(sys.stderr).write(summary(tally, seconds, interrupted=bool(stopped)))
    if stopped:
        return 128 + stopped
    return 1 if tally.failed or lost else 0


def _reporter(
    plan: Plan, jobs: Sequence[Job], lost: list[str]
) -> AbstractContextManager[FullReporter]:
    """Who tells how it goes; `lost` gets why standard output cannot be written."""
    err = standard(sys.stderr)

    def note(why: str) -> None:
        lost.append(why)
        err.write(f"galileo-send: standard output cannot be written: {why}.")

    out = standard(sys.stdout, note)
    if plan.as_json:
        return nullcontext(JsonReporter(out, time.monotonic))
    if plan.verbosity != "quiet" and is_terminal(sys.stderr):
        # Imported where it is needed: it takes longer than the upload of a small file.
        from .bars import BarReporter  # noqa: PLC0415

        size = sum(job.size or 0 for job in jobs)
        return BarReporter(len(jobs), size, plan.verbosity, None if sys.stdout.isatty() else out)
    return nullcontext(PeopleReporter(out, err, plan.verbosity))


def _remarks(plan: Plan, jobs: Sequence[Job], reporter: FullReporter) -> None:
    if plan.verbosity == "verbose":
        through = f" through the proxy {plan.proxy}" if plan.proxy else ""
        reporter.remark(f"sending {texts.count(len(jobs), 'file')} to {plan.address}{through}.")
    if not jobs:
        reporter.remark("there is nothing to send.")
    if plan.token_file and os.stat(plan.token_file).st_mode & stat.S_IROTH:
        reporter.remark(f"the token in {texts.plain(plan.token_file)} can be read by everybody.")
    if plan.options.token and not plan.address.secure and not _is_near(plan.address):
        reporter.remark("the token goes unencrypted over ws: anybody on the way can read it.")
    if names := doubled(jobs):
        shown = ", ".join(map(texts.plain, names[:SHOWN])) + (", ..." if names[SHOWN:] else "")
        reporter.remark(
            f"several files have the same name ({shown}); the server decides what becomes of them."
        )


def _is_near(address: Address) -> bool:
    if address.unix or address.host == "localhost":
        return True
    try:
        return ipaddress.ip_address(address.host).is_loopback
    except ValueError:
        return False


async def _work(plan: Plan, jobs: Sequence[Job], tally: Tally, reporter: FullReporter) -> int:
    """Send everything; gives the number of the signal that ended it, or 0."""
    batch = Batch(partial(_send, plan), plan.policy, plan.parallel, reporter)
    stopped: list[int] = []
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            with trio.CancelScope() as sending:
                nursery.start_soon(_watch, signals, stopped, sending.cancel)
                await batch.run(jobs, tally)
            nursery.cancel_scope.cancel()
    return stopped[0] if stopped else 0


async def _watch(
    signals: AsyncIterator[int], stopped: list[int], cancel: Callable[[], None]
) -> None:
    async for number in signals:
        if stopped:
            _drop_everything(number)
        stopped.append(number)
        cancel()


def _drop_everything(number: int) -> NoReturn:
    """A second signal: some thread hangs, on a file of a dead server, say."""
    if sys.stderr.isatty():
        sys.stderr.write(SHOW_CURSOR)
        sys.stderr.flush()
    os._exit(128 + number)


async def _send(
    plan: Plan, job: Job, on_start: OnStart, on_progress: OnProgress, on_warning: OnWarning
) -> Receipt:
    options = evolve(plan.options, on_warning=on_warning)
    label = "Standard input" if job.label == LABEL else None
    async with open_source(await job.open(), job.name, job.declared, label) as source:
        on_start()
        return await upload(plan.address, source, options, on_progress)
