"""One run of the command: finds the files, sends them, reports, and gives the exit status."""

import ipaddress
import os
import select
import signal
import stat
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, nullcontext
from types import FrameType
from typing import Final, NoReturn

import trio
from attrs import frozen

from galileod.client.address import Address, Proxy
from galileod.client.asking import SkipExisting
from galileod.client.content import open_source
from galileod.client.formatting import format_period, plural
from galileod.client.options import Options
from galileod.client.retry import RetryPolicy
from galileod.client.sources import Source
from galileod.client.state_directory import State
from galileod.clock import ProcessClock
from galileod.printable import printable
from galileod.units import human_size

from .batch import Batch, Kept, Tally, how_to_go_on
from .jobs import Job, Skipped, collect, duplicate_places
from .output import Lines, QueuedLines, is_terminal, standard
from .report_json import JsonReporter
from .report_text import TextReporter, Verbosity, summary
from .stdin import STDIN, stdin_job

MAX_PLACES: Final = 3
"""Maximum duplicate names that are listed."""

SHOW_CURSOR: Final = b"\x1b[?25h"

_STANDARD_ERROR: Final = 2


@frozen
class Plan:
    """The command line, parsed."""

    address: Address
    proxy: Proxy | None
    files: Sequence[str]
    name: str | None
    size: int | None
    recursive: bool
    flat: bool
    options: Options
    policy: RetryPolicy
    parallel: int
    verbosity: Verbosity
    as_json: bool
    token_file: str | None
    skip: SkipExisting | None
    dry_run: bool


AnyReporter = TextReporter | JsonReporter


def run(plan: Plan) -> int:
    """Send all files; returns the exit status. Raises NotAskedError."""
    paths = [path for path in plan.files if path != STDIN]
    found = collect(paths, plan.name, recursive=plan.recursive, flat=plan.flat)
    if STDIN in plan.files:
        found.insert(0, stdin_job(plan.name, plan.size))
    jobs = [entry for entry in found if isinstance(entry, Job)]
    output_errors: list[str] = []

    def on_failure(why: str) -> None:
        output_errors.append(why)
        err.write(f"galileo-send: standard output cannot be written: {why}.")

    with QueuedLines(standard(sys.stderr)) as err:
        with QueuedLines(standard(sys.stdout, on_failure)) as out:
            with _reporter(plan, jobs, out, err) as reporter:
                for entry in found:
                    if isinstance(entry, Skipped):
                        reporter.skipped(entry.label, entry.why)
                _notices(plan, jobs, reporter)
                tally = Tally(len(jobs), dry_run=plan.dry_run)
                began = time.monotonic()
                stopped = trio.run(_work, plan, jobs, tally, reporter, clock=ProcessClock())
            seconds = time.monotonic() - began
            reporter.ended(tally, seconds, interrupted=bool(stopped))
        if output_errors and (plan.as_json or tally.total == 1):
            # The result could not be written to standard output. For several files the text
            # reporter has written a summary to standard error already.
            err.write(summary(tally, seconds, interrupted=bool(stopped)))
    if stopped:
        return 128 + stopped
    return 1 if tally.failed or tally.replaced or output_errors else 0


def _reporter(
    plan: Plan, jobs: Sequence[Job], out: Lines, err: Lines
) -> AbstractContextManager[AnyReporter]:
    """The reporter for the plan."""
    if plan.as_json:
        return nullcontext(JsonReporter(out, time.monotonic))
    if plan.verbosity != "quiet" and is_terminal(sys.stderr):
        # Imported on demand: importing rich takes longer than the upload of a small file.
        from .report_bars import BarReporter  # noqa: PLC0415

        size = sum(job.size or 0 for job in jobs)
        return BarReporter(len(jobs), size, plan.verbosity, None if sys.stdout.isatty() else out)
    return nullcontext(TextReporter(out, err, plan.verbosity))


def _notices(plan: Plan, jobs: Sequence[Job], reporter: AnyReporter) -> None:
    if plan.verbosity == "verbose" and not plan.dry_run:
        through = f" through the proxy {plan.proxy}" if plan.proxy else ""
        reporter.notice(f"sending {plural(len(jobs), 'file')} to {plan.address}{through}.")
    if not jobs:
        reporter.notice("there are no files to send.")
    if plan.token_file and os.stat(plan.token_file).st_mode & stat.S_IROTH:
        reporter.notice(f"the token file {printable(plan.token_file)} is readable by all users.")
    if plan.options.token and not plan.address.secure and not _is_local(plan.address):
        reporter.notice("the token is sent unencrypted: use wss:// if the server supports it.")
    if places := duplicate_places(jobs):
        shown = ", ".join(map(printable, places[:MAX_PLACES]))
        more = ", ..." if places[MAX_PLACES:] else ""
        reporter.notice(
            f"several files are sent under the same name ({shown}{more}): the server may rename or "
            "refuse them, or replace one by the other."
        )


def _is_local(address: Address) -> bool:
    if address.unix or address.host == "localhost":
        return True
    try:
        host = ipaddress.ip_address(address.host)
    except ValueError:
        return False
    # Before Python 3.13, an IPv4 address that is mapped into IPv6 did not count.
    mapped = host.ipv4_mapped if isinstance(host, ipaddress.IPv6Address) else None
    return (mapped or host).is_loopback


async def _work(plan: Plan, jobs: Sequence[Job], tally: Tally, reporter: AnyReporter) -> int:
    """Send all files; returns the number of the signal that interrupted it, or 0."""
    state = State(reporter.notice if plan.verbosity == "verbose" else lambda _: None)
    batch = Batch(
        plan.address, plan.options, plan.policy, state, _open, plan.parallel, reporter, plan.skip
    )
    with trio.CancelScope() as sending, _interruption(sending.cancel) as stopped:
        await batch.run(jobs, tally)
    if batch.kept:
        reporter.notice(_what_is_kept(batch.kept, tally.total, plan.skip))
    return stopped[0] if stopped else 0


def _what_is_kept(kept: Sequence[Kept], total: int, skip: SkipExisting | None) -> str:
    """What the server keeps of the files that were interrupted, of `total`; how to go on."""
    sent, size = (sum(getattr(one, key) for one in kept) for key in ("sent", "size"))
    files = f" of {plural(len(kept), 'file')}" if len(kept) > 1 else ""
    period = format_period(min(one.seconds for one in kept))
    return (
        f"about {human_size(sent)} of {human_size(size)}{files} are kept by the server for "
        f"{period}. {how_to_go_on(total, skip)}"
    )


@contextmanager
def _interruption(cancel: Callable[[], None]) -> Iterator[Sequence[int]]:
    """Call `cancel` at SIGINT or SIGTERM; the number of the signal is then in the result.

    One that the caller ignores stays ignored: the command may run in the background of a script. A
    second signal ends the process, in the handler itself: the event loop may wait for a reader of
    standard output that is too slow.
    """
    stopped: list[int] = []
    token = trio.lowlevel.current_trio_token()

    def handle(number: int, _frame: FrameType | None) -> None:
        if stopped:
            _exit_at_once(number)
        stopped.append(number)
        token.run_sync_soon(cancel)

    handled = [
        number
        for number in (signal.SIGINT, signal.SIGTERM)
        if signal.getsignal(number) is not signal.SIG_IGN
    ]
    before = {number: signal.signal(number, handle) for number in handled}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _exit_at_once(number: int) -> NoReturn:
    """Exit after a second signal: a thread may hang, as in a read from a network file system."""
    # A thread may have locked sys.stderr, so only its descriptor is used.
    if sys.stderr.isatty() and select.select([], [_STANDARD_ERROR], [], 0)[1]:
        os.write(_STANDARD_ERROR, SHOW_CURSOR)
    os._exit(128 + number)


@asynccontextmanager
async def _open(job: Job) -> AsyncIterator[Source]:
    label = "Standard input" if job.label == STDIN else None
    content = await job.open()
    async with open_source(content, job.name, job.declared, label, folder=job.folder) as source:
        yield source
